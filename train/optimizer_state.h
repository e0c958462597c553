// An optimizer's state in checkpoints: what is common in the common part, and each rank's own
// vectors and counters in its own, under the names of tensors and, of a server's, offsets in them.
#pragma once

#include <string>

#include "comm/communicator.h"
#include "kernels/parameter_arena.h"
#include "optim/optimizer.h"
#include "train/checkpoint.h"
#include "train/saved_run.h"

namespace thinwire {

/// Stores step and vectors of an optimizer, and what it and the communicator have counted.
void StoreOptimizer(Optimizer& optimizer, const ParameterArena& arena,
                    const Communicator& communicator, Checkpoint& common, Checkpoint& own);

/// The reverse. Saved by as many ranks, everything is as it was, bit for bit. Otherwise workers'
/// vectors start as OptimizerState::carry_over says (a mean is a float64 sum in rank order, rounded
/// once), and servers' vectors are cut anew.
/// @return What it did in such a case, for people: "4 -> 3 workers: …"; else empty.
/// @throws Error naming what the checkpoint lacks, or the file of a rank that cannot be read.
std::string RestoreOptimizer(const SavedRun& saved, const ParameterArena& arena,
                             Communicator& communicator, Optimizer& optimizer);

}  // namespace thinwire
