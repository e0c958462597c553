#include "tests/optim/method_cases.h"

#include <algorithm>
#include <cmath>

namespace thinwire {
namespace {

/// Numbers from a counter (Steele, Lea, Flood, "Fast splittable pseudorandom number generators"),
/// in [-1, 1).
double Random(uint64_t seed, uint64_t index) {
  uint64_t z = seed * 0x9E3779B97F4A7C15 + index;
  for (int pass = 0; pass < 2; ++pass) {
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
    z ^= z >> 31;
  }
  return static_cast<double>(z >> 11) * 0x1p-52 - 1;
}

/// Fills every tensor with function(element of the arena), in the arena's type.
template <typename Function>
void Fill(ParameterArena& arena, View view, const Function& function) {
  const auto fill = [&]<typename T>(T) {
    std::vector<T> values(static_cast<size_t>(view.size));
    for (const Segment& segment : arena.segments()) {
      for (int64_t i = segment.offset; i < segment.offset + segment.size; ++i) {
        values[static_cast<size_t>(i)] = static_cast<T>(function(i));
      }
    }
    arena.device().CopyFromHost(values.data(), view);
  };
  if (arena.type() == DataType::kFloat64) {
    fill(double{});
  } else {
    fill(float{});
  }
}

}  // namespace

std::vector<MethodCase> PlainMethodCases() {
  std::vector<MethodCase> cases;
  for (const std::string& name : OptimizerNames()) {
    std::string label = name;
    std::replace(label.begin(), label.end(), '-', '_');
    cases.push_back({label, {.name = name, .top_k_ratio = 0.016, .freeze_steps = 7}});
  }
  return cases;
}

std::vector<MethodCase> AllMethodCases() {
  std::vector<MethodCase> cases = PlainMethodCases();
  const auto add = [&](const char* label, OptimizerOptions options) {
    options.freeze_steps = std::max<int64_t>(options.freeze_steps, 7);
    cases.push_back({label, options});
  };
  add("cd_adam_topk", {.name = "cd-adam", .compressor = "topk"});
  add("cd_adam_randk", {.name = "cd-adam", .compressor = "randk", .top_k = 77});
  add("cd_adam_identity", {.name = "cd-adam", .compressor = "identity"});
  add("cd_adam_tensor", {.name = "cd-adam", .scale_granularity = "tensor"});
  add("cd_adam_block", {.name = "cd-adam", .scale_granularity = "block:100"});
  add("cd_adam_block_of_words", {.name = "cd-adam", .scale_granularity = "block:32"});
  add("cd_adam_l2", {.name = "cd-adam", .sign_scale = "l2"});
  add("cd_adam_single_way", {.name = "cd-adam", .single_way = true});
  add("cd_adam_mixed",
      {.name = "cd-adam", .weight_decay = 0.01, .uncompressed_tensors = {"bias", "bn"}});
  add("cd_adam_topk_mixed",
      {.name = "cd-adam", .compressor = "topk", .uncompressed_tensors = {"bn"}});
  add("cd_adam_decay_weights", {.name = "cd-adam",
                                .weight_decay = 0.01,
                                .decay_norm_and_bias = false,
                                .weight_decay_at = "update"});
  add("cd_adam_corrected", {.name = "cd-adam", .amsgrad_form = "corrected"});
  add("ef21_bc_packed",
      {.name = "ef21-bc", .momentum = 0.5, .index_coding = "packed", .value_type = "bf16"});
  add("ef21_bc_full", {.name = "ef21-bc", .value_type = "f16", .first_message = "full"});
  add("ef21_sgdm_both_ways", {.name = "ef21-sgdm", .single_way = false});
  add("ef_amsgrad_topk", {.name = "ef-amsgrad", .compressor = "topk"});
  add("ef_amsgrad_single_way", {.name = "ef-amsgrad", .single_way = true});
  add("ef_sgdm_topk", {.name = "ef-sgdm", .compressor = "topk", .single_way = true});
  add("saef_sgdm_decay", {.name = "saef-sgdm", .weight_decay = 0.01, .error_average_period = 5});
  add("saef_sgdm_topk", {.name = "saef-sgdm",
                         .compressor = "topk",
                         .index_coding = "packed",
                         .error_average_period = 4});
  add("saef_sgdm_randk_mixed", {.name = "saef-sgdm",
                                .compressor = "randk",
                                .uncompressed_tensors = {"bias"},
                                .single_way = true});
  add("onebit_adam_corrected", {.name = "onebit-adam", .bias_correction = true});
  add("onebit_adam_topk", {.name = "onebit-adam", .compressor = "topk"});
  add("signsgd_mv_momentum", {.name = "signsgd-mv", .momentum = 0.9});
  return cases;
}

std::vector<TensorSpec> OddSpecs() {
  return {{"conv.weight", TensorRole::kConvolutionFilter, {3, 3, 3, 5}, {}},
          {"bn.weight", TensorRole::kBatchNormScale, {31}, {}},
          {"bn.bias", TensorRole::kBatchNormShift, {1}, {}},
          {"bn.running_mean", TensorRole::kRunningMean, {31}, {}},
          {"fc.weight", TensorRole::kLinearWeight, {127, 33}, {}},
          {"fc.bias", TensorRole::kBias, {127}, {}},
          {"last.weight", TensorRole::kLinearWeight, {346}, {}}};
}

void SetGradient(ParameterArena& arena, int rank, int64_t step) {
  const std::vector<double> x = Values(arena);
  const auto r = static_cast<uint64_t>(rank), t = static_cast<uint64_t>(step);
  Fill(arena, arena.gradients(), [&](int64_t i) {
    const auto index = static_cast<uint64_t>(i);
    const double target = Random(100 + r, index) + Random(99, index);
    return x[static_cast<size_t>(i)] - target + 0.25 * Random(1000 * (r + 1) + t, index);
  });
}

void SetStart(ParameterArena& arena) {
  Fill(arena, arena.values(), [](int64_t i) { return 0.5 * Random(7, static_cast<uint64_t>(i)); });
}

std::vector<double> ReadDoubles(Device& device, ConstView view) {
  std::vector<double> result(static_cast<size_t>(view.size));
  if (view.type == DataType::kFloat64) {
    device.CopyToHost(view, result.data());
  } else {
    std::vector<float> floats(result.size());
    device.CopyToHost(view, floats.data());
    std::copy(floats.begin(), floats.end(), result.begin());
  }
  return result;
}

std::vector<double> Values(const ParameterArena& arena) {
  return ReadDoubles(arena.device(), arena.values());
}

uint64_t Checksum(const ParameterArena& arena) {
  const View values = arena.values();
  std::vector<unsigned char> bytes(static_cast<size_t>(values.size * SizeOf(values.type)));
  arena.device().CopyToHost(values, bytes.data());
  uint64_t hash = 0xCBF29CE484222325;  // FNV-1a
  for (const unsigned char byte : bytes) hash = (hash ^ byte) * 0x100000001B3;
  return hash;
}

}  // namespace thinwire
