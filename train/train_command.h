// thinwire train: from a command line to a run on all its ranks.
#pragma once

#include "comm/communicator.h"
#include "train/command_line.h"

namespace thinwire {

/// Trains. @param mpi Null unless this process is one of several ranks.
/// @return 0, or 128 + the signal that stopped the run. @throws Error.
int Train(const CommandLine& command_line, MpiSession* mpi);

}  // namespace thinwire
