// A method whose tensors have nothing to do with each other, taken to each part of the arena by
// itself, so that parts can be sent while the backward pass is still at others.
#pragma once

#include <memory>
#include <span>

#include "optim/optimizer.h"

namespace thinwire {

/// One of optim/methods.h.
using OptimizerFactory = std::unique_ptr<Optimizer>(const OptimizerOptions&, ParameterArena&,
                                                    Communicator&);

/// An optimizer for each of `buckets`, which rise, are whole tensors and together the arena: with
/// servers of its own, each an n-th of the bucket, so that all ranks share each bucket's traffic.
/// What one optimizer for all of the arena does differs only in how servers' sums are rounded,
/// where another of them has another part of a tensor. States are in parts, costs are sums.
std::unique_ptr<Optimizer> MakeBucketed(OptimizerFactory* make, const OptimizerOptions& options,
                                        ParameterArena& arena, Communicator& communicator,
                                        std::span<const Range> buckets);

}  // namespace thinwire
