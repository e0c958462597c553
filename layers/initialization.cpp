#include "layers/initialization.h"

#include <array>
#include <cmath>
#include <numbers>
#include <vector>

#include "kernels/random.h"
#include "layers/name_hash.h"

namespace thinwire {
namespace {

/// Four draws from one Philox block: block i makes the elements 4 i … 4 i + 3.
std::array<double, 4> Draw(InitialValue::Kind kind, const std::array<uint32_t, 4>& words) {
  std::array<double, 4> draws{};
  if (kind == InitialValue::Kind::kUniform) {
    for (size_t i = 0; i < 4; ++i) draws[i] = (words[i] + 0.5) * 0x1p-31 - 1;  // in (-1, 1)
    return draws;
  }
  for (size_t i = 0; i < 4; i += 2) {  // Box-Muller
    const double radius = std::sqrt(-2 * std::log((words[i] + 0.5) * 0x1p-32));
    const double angle = words[i + 1] * 0x1p-32 * 2 * std::numbers::pi;
    draws[i] = radius * std::cos(angle);
    draws[i + 1] = radius * std::sin(angle);
  }
  return draws;
}

std::vector<float> Draw(const LayerTensor& tensor, uint64_t seed) {
  const auto& [kind, value] = tensor.initial;
  std::vector<float> values(static_cast<size_t>(tensor.spec.size()), static_cast<float>(value));
  if (kind == InitialValue::Kind::kConstant) return values;
  const uint64_t stream = HashName(tensor.spec.name);
  for (size_t i = 0; i < values.size(); i += 4) {
    const std::array<double, 4> draws = Draw(kind, Philox(seed, stream, i / 4));
    for (size_t j = 0; j < 4 && i + j < values.size(); ++j) {
      values[i + j] = static_cast<float>(value * draws[j]);
    }
  }
  return values;
}

}  // namespace

void InitializeParameters(const LayerGraph& graph, ParameterArena& arena, uint64_t seed,
                          const InitializationOptions& options) {
  for (const auto& layer : graph.layers()) {
    for (LayerTensor& tensor : layer->tensors()) {
      if (options.zero_residual_scale && tensor.ends_residual_branch) tensor.initial = {};
      arena.device().CopyFromHost(Draw(tensor, seed).data(), TensorValue(arena, tensor.spec));
    }
  }
}

}  // namespace thinwire
