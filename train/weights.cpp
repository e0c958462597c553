#include "train/weights.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <map>
#include <optional>
#include <set>
#include <string_view>
#include <vector>

#include "kernels/error.h"
#include "train/safetensors.h"

namespace thinwire {
namespace {

/// The shape that PyTorch gives the tensor.
std::vector<int64_t> ForeignShape(const TensorSpec& spec) {
  if (spec.role != TensorRole::kConvolutionFilter) return spec.shape;
  return {spec.shape[0], spec.shape[3], spec.shape[1], spec.shape[2]};
}

/// Calls visit(ours, foreign) for the places of each element in our layout and in PyTorch's. Both
/// layouts that differ are [rows, pixels, channels] here and [rows, channels, pixels] there:
/// filters, KRSC and KCRS, and the weights of a linear layer behind a flattened image.
template <typename Visit>
void VisitElements(const TensorSpec& spec, const Visit& visit) {
  int64_t rows = spec.size(), pixels = 1, channels = 1;
  if (spec.role == TensorRole::kConvolutionFilter) {
    rows = spec.shape[0];
    pixels = spec.shape[1] * spec.shape[2];
    channels = spec.shape[3];
  } else if (!spec.flattened_from.empty()) {
    rows = spec.shape[0];
    pixels = spec.flattened_from[0] * spec.flattened_from[1];
    channels = spec.flattened_from[2];
  }
  size_t ours = 0;
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t pixel = 0; pixel < pixels; ++pixel) {
      for (int64_t channel = 0; channel < channels; ++channel) {
        visit(ours++, static_cast<size_t>((row * channels + channel) * pixels + pixel));
      }
    }
  }
}

float FromHalf(uint16_t bits) {
  const float sign = bits & 0x8000 ? -1.0f : 1.0f;
  const int exponent = bits >> 10 & 0x1F;
  const int mantissa = bits & 0x3FF;
  if (exponent == 0x1F) return mantissa ? NAN : sign * INFINITY;
  if (exponent == 0) return sign * std::ldexp(static_cast<float>(mantissa), -24);
  return sign * std::ldexp(static_cast<float>(mantissa | 0x400), exponent - 25);
}

float FromBFloat16(uint16_t bits) { return std::bit_cast<float>(uint32_t{bits} << 16); }

template <typename Stored, typename Convert>
std::vector<float> ConvertAll(const StoredTensor& tensor, const Convert& convert) {
  std::vector<float> values(tensor.bytes.size() / sizeof(Stored));
  for (size_t i = 0; i < values.size(); ++i) {
    Stored stored;
    std::memcpy(&stored, tensor.bytes.data() + i * sizeof(Stored), sizeof(Stored));
    values[i] = convert(stored);
  }
  return values;
}

bool IsFloat(const StoredTensor& tensor) {
  return tensor.dtype == "F32" || tensor.dtype == "F64" || tensor.dtype == "F16" ||
         tensor.dtype == "BF16";
}

/// @pre IsFloat(tensor)
std::vector<float> ToFloats(const StoredTensor& tensor) {
  if (tensor.dtype == "F64") {
    return ConvertAll<double>(tensor, [](double value) { return static_cast<float>(value); });
  }
  if (tensor.dtype == "F16") return ConvertAll<uint16_t>(tensor, FromHalf);
  if (tensor.dtype == "BF16") return ConvertAll<uint16_t>(tensor, FromBFloat16);
  return ConvertAll<float>(tensor, [](float value) { return value; });
}

/// Without what wrappers (DataParallel, torch.compile) put in front of every name.
std::string_view WithoutPrefixes(std::string_view name) {
  for (const std::string_view prefix : {"module.", "_orig_mod."}) {
    if (name.starts_with(prefix)) return WithoutPrefixes(name.substr(prefix.size()));
  }
  return name;
}

/// The same for all usual names of a tensor: shortcut for downsample anywhere, fc for linear and
/// classifier where that is the whole layer's name.
std::string CanonicalName(std::string_view name) {
  std::string canonical;
  for (size_t begin = 0; begin <= name.size();) {
    const size_t end = std::min(name.find('.', begin), name.size());
    std::string_view part = name.substr(begin, end - begin);
    if (part == "downsample") part = "shortcut";
    const bool whole = begin == 0 && name.find('.', end + 1) == name.npos && end < name.size();
    if (whole && (part == "linear" || part == "classifier")) part = "fc";
    if (begin > 0) canonical += '.';
    canonical += part;
    begin = end + 1;
  }
  return canonical;
}

std::string ShapeText(const std::vector<int64_t>& shape) {
  return fmt::format("[{}]", fmt::join(shape, ", "));
}

/// "3 tensors are missing (a, b, …)", or nothing if there are none.
void Describe(const char* what, const std::vector<std::string>& items,
              std::vector<std::string>& problems) {
  constexpr size_t kShown = 3;
  if (items.empty()) return;
  const size_t shown = std::min(items.size(), kShown);
  problems.push_back(fmt::format(
      "{} {} {} ({}{})", items.size(), items.size() == 1 ? "tensor is" : "tensors are", what,
      fmt::join(items.begin(), items.begin() + shown, "; "), shown < items.size() ? "; …" : ""));
}

/// Which of a file's tensors is which of an arena's.
class Matching {
 public:
  Matching(const SafetensorsFile& file, const ParameterArena& arena) {
    for (const auto& [name, tensor] : file.tensors) {
      const std::string bare(WithoutPrefixes(name));
      if (bare.ends_with("num_batches_tracked")) continue;
      if (!by_name_.emplace(bare, &tensor).second) doubled_.push_back(bare);
    }
    // A tensor's own name goes before another's alias.
    for (const auto* segments : {&arena.segments(), &arena.state_segments()}) {
      for (const Segment& segment : *segments) {
        const auto found = by_name_.find(segment.spec.name);
        if (found != by_name_.end()) Claim(segment, found);
      }
    }
    std::multimap<std::string, std::map<std::string, const StoredTensor*>::iterator> by_alias;
    for (auto it = by_name_.begin(); it != by_name_.end(); ++it) {
      by_alias.emplace(CanonicalName(it->first), it);
    }
    for (const auto* segments : {&arena.segments(), &arena.state_segments()}) {
      for (const Segment& segment : *segments) {
        if (tensors_.contains(&segment)) continue;
        const std::string alias = CanonicalName(segment.spec.name);
        if (by_alias.count(alias) == 1) {
          const auto found = by_alias.find(alias);
          Claim(segment, found->second);
          by_alias.erase(found);
        } else {
          missing_.push_back(segment.spec.name);
        }
      }
    }
    for (const auto& [name, tensor] : by_name_) unexpected_.push_back(name);
  }

  /// @throws Error unless all fits.
  void Check(const std::string& path) const {
    std::vector<std::string> problems;
    Describe("missing", missing_, problems);
    Describe("unexpected", unexpected_, problems);
    Describe("misshapen", misshapen_, problems);
    Describe("not of a floating-point type", mistyped_, problems);
    Describe("there twice, with and without a prefix", doubled_, problems);
    if (problems.empty()) return;
    throw Error(fmt::format("cannot load weights from {}: {}", path, fmt::join(problems, ", ")),
                "check that the model, its number of classes and its image size are the file's");
  }

  const StoredTensor& tensor(const Segment& segment) const { return *tensors_.at(&segment); }

 private:
  void Claim(const Segment& segment, std::map<std::string, const StoredTensor*>::iterator found) {
    const StoredTensor& tensor = *found->second;
    const std::vector<int64_t> shape = ForeignShape(segment.spec);
    if (tensor.shape != shape) {
      misshapen_.push_back(fmt::format("{}: {} in the file, {} in the model", found->first,
                                       ShapeText(tensor.shape), ShapeText(shape)));
    } else if (!IsFloat(tensor)) {
      mistyped_.push_back(found->first + ": " + tensor.dtype);
    }
    tensors_.emplace(&segment, &tensor);
    by_name_.erase(found);
  }

  std::map<std::string, const StoredTensor*> by_name_;  // of the file, those not yet claimed
  std::map<const Segment*, const StoredTensor*> tensors_;
  std::vector<std::string> missing_, unexpected_, misshapen_, mistyped_, doubled_;
};

/// All segments' values as one vector of the arena's layout.
std::vector<float> Gather(const std::vector<Segment>& segments, int64_t size,
                          const Matching& matching) {
  std::vector<float> all(static_cast<size_t>(size));
  for (const Segment& segment : segments) {
    const std::vector<float> foreign = ToFloats(matching.tensor(segment));
    float* const ours = all.data() + segment.offset;
    VisitElements(segment.spec, [&](size_t i, size_t j) { ours[i] = foreign[j]; });
  }
  return all;
}

void Store(const std::vector<Segment>& segments, const View& values, Device& device,
           SafetensorsFile& file) {
  std::vector<float> all(static_cast<size_t>(values.size));
  if (!all.empty()) device.CopyToHost(values, all.data());
  for (const Segment& segment : segments) {
    const float* const ours = all.data() + segment.offset;
    std::vector<float> foreign(static_cast<size_t>(segment.size));
    VisitElements(segment.spec, [&](size_t i, size_t j) { foreign[j] = ours[i]; });
    const auto bytes = std::as_bytes(std::span(foreign));
    file.tensors[segment.spec.name] = {
        "F32", ForeignShape(segment.spec), {bytes.begin(), bytes.end()}};
  }
}

}  // namespace

void LoadWeights(const std::string& path, ParameterArena& arena) {
  const SafetensorsFile file = ReadSafetensors(path);
  const Matching matching(file, arena);
  matching.Check(path);
  const std::vector<float> values = Gather(arena.segments(), arena.values().size, matching);
  const std::vector<float> state = Gather(arena.state_segments(), arena.state().size, matching);
  if (!values.empty()) arena.device().CopyFromHost(values.data(), arena.values());
  if (!state.empty()) arena.device().CopyFromHost(state.data(), arena.state());
  arena.device().Synchronize();  // the copies read memory that ends with this call
}

void SaveWeights(const std::string& path, const ParameterArena& arena, int64_t batches_tracked) {
  SafetensorsFile file;
  file.metadata["format"] = "pt";
  Store(arena.segments(), arena.values(), arena.device(), file);
  Store(arena.state_segments(), arena.state(), arena.device(), file);
  for (const Segment& segment : arena.state_segments()) {
    if (segment.spec.role != TensorRole::kRunningMean) continue;
    const std::string& name = segment.spec.name;
    const auto count = std::as_bytes(std::span(&batches_tracked, 1));
    file.tensors[name.substr(0, name.rfind('.') + 1) + "num_batches_tracked"] = {
        "I64", {}, {count.begin(), count.end()}};
  }
  WriteSafetensors(path, file);
}

}  // namespace thinwire
