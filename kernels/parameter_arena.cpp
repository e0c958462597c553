#include "kernels/parameter_arena.h"

#include <algorithm>
#include <functional>
#include <numeric>
#include <utility>

#include "kernels/error.h"

namespace thinwire {
namespace {

bool IsWeight(const TensorSpec& spec) {
  return spec.role == TensorRole::kConvolutionFilter || spec.role == TensorRole::kLinearWeight;
}

int64_t RoundUp(int64_t size) {
  constexpr int64_t alignment = ParameterArena::kAlignment;
  return (size + alignment - 1) / alignment * alignment;
}

}  // namespace

int64_t TensorSpec::size() const {
  return std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>());
}

ParameterArena::ParameterArena(Device& device, const std::vector<TensorSpec>& specs, DataType type,
                               DataType activations)
    : device_(device), type_(type) {
  int64_t state_size = 0;
  auto place = [](std::vector<Segment>& segments, const TensorSpec& spec, int64_t& end) {
    segments.push_back({spec, end, spec.size()});
    end += RoundUp(spec.size());
  };
  for (const bool weights : {true, false}) {
    for (const TensorSpec& spec : specs) {
      if (!spec.trainable() || IsWeight(spec) != weights) continue;
      parameter_count_ += spec.size();
      place(segments_, spec, padded_size_);
    }
    if (weights) decayed_size_ = padded_size_;
  }
  for (const TensorSpec& spec : specs) {
    if (!spec.trainable()) place(state_segments_, spec, state_size);
  }
  IndexNames();
  const MemoryScope scope(device, MemoryUse::kParameters);
  values_ = Allocate(padded_size_, type);
  gradients_ = Allocate(padded_size_, type);
  state_ = Allocate(state_size, type);
  if (activations == DataType::kBFloat16) bfloat16_values_ = Allocate(padded_size_, activations);
}

ParameterArena::ParameterArena(const ParameterArena& whole, const Range& range)
    : device_(whole.device_),
      type_(whole.type_),
      segments_(whole.SegmentsIn(range)),
      padded_size_(range.size()),
      decayed_size_(std::clamp<int64_t>(whole.decayed_size_ - range.begin, 0, range.size())),
      values_(whole.values_.Slice(range.begin, range.size())),
      gradients_(whole.gradients_.Slice(range.begin, range.size())),
      state_(whole.state_.Slice(0, 0)) {
  if (whole.bfloat16_values_) {
    bfloat16_values_ = whole.bfloat16_values_.Slice(range.begin, range.size());
  }
  for (const Segment& segment : segments_) parameter_count_ += segment.size;
  IndexNames();
}

std::vector<Segment> ParameterArena::SegmentsIn(const Range& range) const {
  std::vector<Segment> segments;
  for (Segment segment : segments_) {
    if (segment.offset < range.begin || segment.offset >= range.end) continue;
    segment.offset -= range.begin;
    segments.push_back(std::move(segment));
  }
  return segments;
}

View ParameterArena::Allocate(int64_t size, DataType type) {
  memory_.push_back(device_.Allocate(size * SizeOf(type)));
  return memory_.back().view(type);
}

void ParameterArena::IndexNames() {
  for (const bool trainable : {true, false}) {
    const auto& segments = trainable ? segments_ : state_segments_;
    for (size_t i = 0; i < segments.size(); ++i) {
      const std::string& name = segments[i].spec.name;
      if (!by_name_.emplace(name, std::make_pair(trainable, i)).second) {
        throw Error("two tensors of the model are named " + name, "give each layer its own name");
      }
    }
  }
}

void ParameterArena::RoundValues() {
  if (bfloat16_values_) device_.Convert(values(), bfloat16_values());
}

const Segment& ParameterArena::segment(const std::string& name) const {
  const auto found = by_name_.find(name);
  if (found == by_name_.end()) throw Error("the model has no tensor named " + name, "");
  const auto [trainable, index] = found->second;
  return trainable ? segments_[index] : state_segments_[index];
}

View ParameterArena::value(const std::string& name) const {
  const Segment& found = segment(name);
  return (found.spec.trainable() ? values() : state()).Slice(found.offset, found.size);
}

View ParameterArena::value(const std::string& name, DataType activations) const {
  if (activations != DataType::kBFloat16) return value(name);
  const Segment& found = segment(name);
  if (!bfloat16_values_ || !found.spec.trainable()) {
    throw Error("the model's parameters have no copy for a network in bfloat16 to read",
                "this is an error in thinwire; please report it");
  }
  return bfloat16_values().Slice(found.offset, found.size);
}

View ParameterArena::gradient(const std::string& name) const {
  const Segment& found = segment(name);
  if (!found.spec.trainable()) throw Error("the tensor " + name + " has no gradient", "");
  return gradients().Slice(found.offset, found.size);
}

}  // namespace thinwire
