// The methods' factories, which MakeOptimizer knows by name. Options have been checked.
#pragma once

#include <memory>

#include "optim/optimizer.h"

namespace thinwire {

std::unique_ptr<Optimizer> MakeSgd(const OptimizerOptions& options, ParameterArena& arena);
std::unique_ptr<Optimizer> MakeMomentum(const OptimizerOptions& options, ParameterArena& arena);
std::unique_ptr<Optimizer> MakeNesterov(const OptimizerOptions& options, ParameterArena& arena);
std::unique_ptr<Optimizer> MakeAdam(const OptimizerOptions& options, ParameterArena& arena);
std::unique_ptr<Optimizer> MakeAdamW(const OptimizerOptions& options, ParameterArena& arena);
std::unique_ptr<Optimizer> MakeAmsgrad(const OptimizerOptions& options, ParameterArena& arena);
std::unique_ptr<Optimizer> MakeRmsprop(const OptimizerOptions& options, ParameterArena& arena);
std::unique_ptr<Optimizer> MakeRmspropW(const OptimizerOptions& options, ParameterArena& arena);
std::unique_ptr<Optimizer> MakeSignSgd(const OptimizerOptions& options, ParameterArena& arena);

}  // namespace thinwire
