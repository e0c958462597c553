// The methods by name, and the checks of their settings.
#include "optim/optimizer.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <initializer_list>

#include "kernels/arena_buckets.h"
#include "kernels/error.h"
#include "kernels/text.h"
#include "optim/bucketed_optimizer.h"
#include "optim/methods.h"

namespace thinwire {
namespace {

struct Method {
  const char* name;
  OptimizerFactory* make;
  const char* compressor = "";  // its usual one, of those that compress
};

constexpr Method kMethods[] = {
    // Uncompressed.
    {"sgd", MakeSgd},
    {"momentum", MakeMomentum},
    {"nesterov", MakeNesterov},
    {"adam", MakeAdam},
    {"adamw", MakeAdamW},
    {"amsgrad", MakeAmsgrad},
    {"rmsprop", MakeRmsprop},
    {"rmspropw", MakeRmspropW},
    {"signsgd", MakeSignSgd},
    // Compressed.
    {"naive-amsgrad", MakeNaiveAmsgrad, "sign"},
    {"ef-amsgrad", MakeEfAmsgrad, "sign"},
    {"topk-amsgrad", MakeTopKAmsgrad, "topk"},
    {"cd-adam", MakeCdAdam, "sign"},
    {"ef21", MakeEf21, "topk"},
    {"ef21-bc", MakeEf21Bc, "topk"},
    {"ef21-sgdm", MakeEf21Sgdm, "topk"},
    {"ef21-sgd2m", MakeEf21Sgd2m, "topk"},
    {"ef14", MakeEf14, "topk"},
    {"ef-sgd", MakeEfSgd, "sign"},
    {"ef-sgdm", MakeEfSgdm, "sign"},
    {"saef-sgd", MakeSaefSgd, "sign"},
    {"saef-sgdm", MakeSaefSgdm, "sign"},
    {"onebit-adam", MakeOnebitAdam, "sign"},
    {"signsgd-mv", MakeSignVote, "vote"},
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

void CheckName(const char* what, const std::string& value,
               const std::vector<std::string>& names) {
  if (std::find(names.begin(), names.end(), value) != names.end()) return;
  throw Error(fmt::format("optimizer: unknown {} '{}'", what, value), SuggestName(value, names),
              Error::Kind::kUsage);
}

/// model, tensor, or block:N with N at least 1.
void CheckGranularity(const std::string& granularity) {
  if (granularity == "model" || granularity == "tensor") return;
  int64_t block = 0;
  const char* const first = granularity.data() + 6;
  const char* const last = granularity.data() + granularity.size();
  if (granularity.starts_with("block:") && std::from_chars(first, last, block).ptr == last &&
      block >= 1) {
    return;
  }
  throw Error(fmt::format("optimizer: unknown scale-granularity '{}'", granularity),
              "give model, tensor, or block:N with N elements a scale", Error::Kind::kUsage);
}

bool IsOneOf(const std::string& name, std::initializer_list<const char*> names) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

void CheckCompression(const OptimizerOptions& options) {
  CheckName("compressor", options.compressor, {"auto", "sign", "topk", "randk", "identity"});
  CheckName("sign-scale", options.sign_scale, {"l1", "l2"});
  CheckName("index-coding", options.index_coding, {"plain", "packed"});
  CheckName("value-type", options.value_type, {"f32", "bf16", "f16"});
  CheckName("server", options.server, {"sharded", "central"});
  CheckName("first-message", options.first_message, {"auto", "compressed", "full", "zero"});
  CheckGranularity(options.scale_granularity);
  for (const std::string& kind : options.uncompressed_tensors) {
    CheckName("kind of uncompressed-tensors", kind, {"bias", "bn"});
  }
  if (options.top_k && *options.top_k < 1) {
    throw Error(fmt::format("optimizer: topk is {}", *options.top_k), "send at least one element",
                Error::Kind::kUsage);
  }
  if (!(options.top_k_ratio > 0 && options.top_k_ratio <= 1)) {
    throw Error(fmt::format("optimizer: topk-ratio is {}", options.top_k_ratio),
                "give a share above 0, at most 1", Error::Kind::kUsage);
  }
  if (!(options.eta > 0 && options.eta <= 1)) {
    throw Error(fmt::format("optimizer: eta is {}", options.eta),
                "give a momentum above 0, at most 1 (1: none)", Error::Kind::kUsage);
  }
  if (options.error_average_period < 0 || options.error_average_period == 1) {
    throw Error(fmt::format("optimizer: error-average-period is {}", options.error_average_period),
                "give 0 (never) or at least 2 steps", Error::Kind::kUsage);
  }
  if (options.name == "onebit-adam" && options.freeze_steps < 1) {
    throw Error(fmt::format("optimizer onebit-adam: freeze-steps is {}", options.freeze_steps),
                "give the steps of its uncompressed warm-up, at least 1; usual is 13 % of all",
                Error::Kind::kUsage);
  }
  if (options.name == "signsgd-mv" && (!IsOneOf(options.compressor, {"auto", "sign"}) ||
                                       options.single_way.value_or(false))) {
    throw Error("optimizer signsgd-mv votes by signs, both ways",
                "leave compressor and single-way out, or choose another method",
                Error::Kind::kUsage);
  }
  if (options.name == "ef14" && !options.single_way.value_or(true)) {
    throw Error("optimizer ef14 compresses the uplink only", "use ef-sgd to compress both ways",
                Error::Kind::kUsage);
  }
}

void CheckWeightDecayPlace(const OptimizerOptions& options) {
  CheckName("weight-decay-at", options.weight_decay_at, {"auto", "worker", "update", "decoupled"});
  const bool sends_steps = IsOneOf(
      options.name, {"ef14", "ef-sgd", "ef-sgdm", "saef-sgd", "saef-sgdm", "signsgd-mv"});
  if (!sends_steps || IsOneOf(options.weight_decay_at, {"auto", "worker"})) return;
  throw Error(fmt::format("optimizer {} receives steps, not gradients, so weight-decay-at {} has "
                          "no place", options.name, options.weight_decay_at),
              "use weight-decay-at worker", Error::Kind::kUsage);
}

void Check(const OptimizerOptions& options) {
  CheckFraction("momentum", options.momentum.value_or(0));
  CheckFraction("beta1", options.beta1);
  CheckFraction("beta2", options.beta2.value_or(0));
  CheckFraction("alpha", options.alpha);
  CheckNotNegative("eps", options.epsilon);
  CheckNotNegative("weight-decay", options.weight_decay);
  if (IsOneOf(options.name, {"sgd", "ef-sgd", "saef-sgd"}) && options.momentum.value_or(0) != 0) {
    const bool plain = options.name == "sgd";
    throw Error(fmt::format("optimizer {} has no momentum, but momentum is {}", options.name,
                            *options.momentum),
                plain ? "use momentum or nesterov instead of sgd"
                      : fmt::format("use {}m instead of it", options.name),
                Error::Kind::kUsage);
  }
  CheckName("form of AMSGrad", options.amsgrad_form, {"paper", "corrected"});
  CheckCompression(options);
  CheckWeightDecayPlace(options);
}

/// Whether what is done to a tensor depends on no other: no scale and no choice goes across.
bool IsSeparable(const Method& method, const OptimizerOptions& options) {
  const std::string usual = method.compressor;
  const std::string& compressor =
      options.compressor == "auto" || usual == "vote" ? usual : options.compressor;
  const bool scaled_apart = compressor == "sign" && options.scale_granularity != "model";
  return !usual.empty() && (scaled_apart || compressor == "vote" || compressor == "identity");
}

}  // namespace

std::unique_ptr<Optimizer> MakeOptimizer(const OptimizerOptions& options, ParameterArena& arena,
                                         Communicator& communicator) {
  for (const Method& method : kMethods) {
    if (options.name != method.name) continue;
    Check(options);
    const MemoryScope scope(arena.device(), MemoryUse::kOptimizer);
    if (options.bucket_elements > 0 && communicator.size() > 1 && IsSeparable(method, options)) {
      const std::vector<Range> buckets = CutAtTensors(arena, options.bucket_elements);
      if (buckets.size() > 1) {
        return MakeBucketed(method.make, options, arena, communicator, buckets);
      }
    }
    return method.make(options, arena, communicator);
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
