// The methods' factories, which MakeOptimizer knows by name. Options have been checked.
#pragma once

#include <memory>

#include "optim/optimizer.h"

namespace thinwire {

std::unique_ptr<Optimizer> MakeSgd(const OptimizerOptions&, ParameterArena&, Communicator&);
std::unique_ptr<Optimizer> MakeMomentum(const OptimizerOptions&, ParameterArena&, Communicator&);
std::unique_ptr<Optimizer> MakeNesterov(const OptimizerOptions&, ParameterArena&, Communicator&);
std::unique_ptr<Optimizer> MakeAdam(const OptimizerOptions&, ParameterArena&, Communicator&);
std::unique_ptr<Optimizer> MakeAdamW(const OptimizerOptions&, ParameterArena&, Communicator&);
std::unique_ptr<Optimizer> MakeAmsgrad(const OptimizerOptions&, ParameterArena&, Communicator&);
std::unique_ptr<Optimizer> MakeRmsprop(const OptimizerOptions&, ParameterArena&, Communicator&);
std::unique_ptr<Optimizer> MakeRmspropW(const OptimizerOptions&, ParameterArena&, Communicator&);
std::unique_ptr<Optimizer> MakeSignSgd(const OptimizerOptions&, ParameterArena&, Communicator&);

std::unique_ptr<Optimizer> MakeCdAdam(const OptimizerOptions&, ParameterArena&, Communicator&);
std::unique_ptr<Optimizer> MakeNaiveAmsgrad(const OptimizerOptions&, ParameterArena&,
                                            Communicator&);
std::unique_ptr<Optimizer> MakeEfAmsgrad(const OptimizerOptions&, ParameterArena&, Communicator&);
std::unique_ptr<Optimizer> MakeTopKAmsgrad(const OptimizerOptions&, ParameterArena&, Communicator&);
std::unique_ptr<Optimizer> MakeEf21(const OptimizerOptions&, ParameterArena&, Communicator&);
std::unique_ptr<Optimizer> MakeEf21Bc(const OptimizerOptions&, ParameterArena&, Communicator&);
std::unique_ptr<Optimizer> MakeEf21Sgdm(const OptimizerOptions&, ParameterArena&, Communicator&);
std::unique_ptr<Optimizer> MakeEf21Sgd2m(const OptimizerOptions&, ParameterArena&, Communicator&);
std::unique_ptr<Optimizer> MakeEf14(const OptimizerOptions&, ParameterArena&, Communicator&);
std::unique_ptr<Optimizer> MakeEfSgd(const OptimizerOptions&, ParameterArena&, Communicator&);
std::unique_ptr<Optimizer> MakeEfSgdm(const OptimizerOptions&, ParameterArena&, Communicator&);
std::unique_ptr<Optimizer> MakeSaefSgd(const OptimizerOptions&, ParameterArena&, Communicator&);
std::unique_ptr<Optimizer> MakeSaefSgdm(const OptimizerOptions&, ParameterArena&, Communicator&);
std::unique_ptr<Optimizer> MakeOnebitAdam(const OptimizerOptions&, ParameterArena&, Communicator&);
std::unique_ptr<Optimizer> MakeSignVote(const OptimizerOptions&, ParameterArena&, Communicator&);

}  // namespace thinwire
