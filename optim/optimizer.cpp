// The methods by name, and the checks of their settings.
#include "optim/optimizer.h"

#include <fmt/format.h>

#include <cmath>

#include "kernels/error.h"
#include "kernels/text.h"
#include "optim/methods.h"

namespace thinwire {
namespace {

struct Method {
  const char* name;
  std::unique_ptr<Optimizer> (*make)(const OptimizerOptions&, ParameterArena&);
};

constexpr Method kMethods[] = {
    {"sgd", MakeSgd},         {"momentum", MakeMomentum}, {"nesterov", MakeNesterov},
    {"adam", MakeAdam},       {"adamw", MakeAdamW},       {"amsgrad", MakeAmsgrad},
    {"rmsprop", MakeRmsprop}, {"rmspropw", MakeRmspropW}, {"signsgd", MakeSignSgd},
};

/// The comparisons are written so that a NaN fails them.
void CheckFraction(const char* what, double value) {
  if (value >= 0 && value < 1) return;
  throw Error(fmt::format("optimizer: {} is {}", what, value), "give a value in [0, 1)",
              Error::Kind::kUsage);
}

void CheckNotNegative(const char* what, double value) {
  if (value >= 0 && std::isfinite(value)) return;
  throw Error(fmt::format("optimizer: {} is {}", what, value), "give 0 or a positive number",
              Error::Kind::kUsage);
}

void Check(const OptimizerOptions& options) {
  CheckFraction("momentum", options.momentum.value_or(0));
  CheckFraction("beta1", options.beta1);
  CheckFraction("beta2", options.beta2.value_or(0));
  CheckFraction("alpha", options.alpha);
  CheckNotNegative("eps", options.epsilon);
  CheckNotNegative("weight-decay", options.weight_decay);
  if (options.name == "sgd" && options.momentum.value_or(0) != 0) {
    throw Error(fmt::format("optimizer sgd has no momentum, but momentum is {}", *options.momentum),
                "use momentum or nesterov instead of sgd", Error::Kind::kUsage);
  }
  if (options.amsgrad_form != "paper" && options.amsgrad_form != "corrected") {
    throw Error(fmt::format("unknown form of AMSGrad '{}'", options.amsgrad_form),
                SuggestName(options.amsgrad_form, {"paper", "corrected"}), Error::Kind::kUsage);
  }
}

}  // namespace

std::unique_ptr<Optimizer> MakeOptimizer(const OptimizerOptions& options, ParameterArena& arena) {
  for (const Method& method : kMethods) {
    if (options.name != method.name) continue;
    Check(options);
    return method.make(options, arena);
  }
  throw Error(fmt::format("unknown optimizer '{}'", options.name),
              SuggestName(options.name, OptimizerNames()), Error::Kind::kUsage);
}

std::vector<std::string> OptimizerNames() {
  std::vector<std::string> names;
  for (const Method& method : kMethods) names.push_back(method.name);
  return names;
}

}  // namespace thinwire
