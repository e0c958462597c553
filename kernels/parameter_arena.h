// All trainable parameters of a model in one aligned vector, gradients in a second one of
// the same layout, and the batch norms' running statistics in a third.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "kernels/compression.h"
#include "kernels/device.h"

namespace thinwire {

/// What a tensor is, which decides initialisation, weight decay and its foreign layout.
enum class TensorRole : uint8_t {
  kConvolutionFilter,  // KRSC here, KCRS in PyTorch files
  kLinearWeight,       // [out, in]
  kBias,
  kBatchNormScale,
  kBatchNormShift,
  kRunningMean,      // state, not trained
  kRunningVariance,  // state, not trained
};

/// The name, role and shape of a tensor, before it has memory.
struct TensorSpec {
  std::string name;  // PyTorch's: "layer1.0.conv1.weight"
  TensorRole role = TensorRole::kLinearWeight;
  std::vector<int64_t> shape;  // in our layout
  /// For a linear layer behind a flattened [height, width, channels] image with more than one
  /// pixel: that shape, because PyTorch flattens [channels, height, width]. Empty otherwise.
  std::vector<int64_t> flattened_from;

  int64_t size() const;
  bool trainable() const {
    return role != TensorRole::kRunningMean && role != TensorRole::kRunningVariance;
  }
};

/// A tensor's place in its arena.
struct Segment {
  TensorSpec spec;
  int64_t offset = 0;  // in elements; a multiple of kAlignment
  int64_t size = 0;    // in elements, without the padding behind it
};

/// Memory of a model's tensors. Trainable tensors lie weights first (filters and linear weights),
/// then biases and batch norm parameters, in the model's order within each group, so that an
/// optimizer that decays only weights makes two passes. Each tensor starts at a multiple of
/// kAlignment elements; padding holds zeros.
class ParameterArena {
 public:
  static constexpr int64_t kAlignment = 128;

  /// @param type float32, or float64 for models that can do it.
  /// @param activations Of the networks that will read the arena: with bfloat16 it holds a copy of
  ///     its values in bfloat16.
  ParameterArena(Device& device, const std::vector<TensorSpec>& specs,
                 DataType type = DataType::kFloat32, DataType activations = DataType::kFloat32);
  /// Some of the trainable tensors of an arena, which has to outlive it, as an arena: the same
  /// memory, with offsets counted from the range's first element. It has no running statistics.
  /// @param range From a tensor's offset to another's, or to the arena's end.
  ParameterArena(const ParameterArena& whole, const Range& range);

  Device& device() const { return device_; }
  DataType type() const { return type_; }
  /// Trainable tensors in arena order.
  const std::vector<Segment>& segments() const { return segments_; }
  /// Those in a range of whole ones, with offsets counted from its first element.
  std::vector<Segment> SegmentsIn(const Range& range) const;
  /// Running statistics in arena order.
  const std::vector<Segment>& state_segments() const { return state_segments_; }

  /// Length of the parameter vector with padding, a multiple of kAlignment.
  int64_t padded_size() const { return padded_size_; }
  /// Number of real parameters (the papers' d).
  int64_t parameter_count() const { return parameter_count_; }
  /// Elements [0, decayed_size) hold the weights, the rest biases and batch norm parameters.
  int64_t decayed_size() const { return decayed_size_; }

  View values() const { return values_; }
  View gradients() const { return gradients_; }
  View state() const { return state_; }
  /// The values in bfloat16, in the same layout; absent in an arena without that copy. Optimizers
  /// keep it up to date; who else writes values calls RoundValues.
  View bfloat16_values() const { return bfloat16_values_; }
  /// Brings the copy up to date, if there is one.
  void RoundValues();

  /// Views of one tensor. @throws Error if there is no such name.
  View value(const std::string& name) const;
  View gradient(const std::string& name) const;
  /// A tensor as a layer with such activations reads it: bfloat16 ones read the copy.
  /// @throws Error, too, if the arena has none of it.
  View value(const std::string& name, DataType activations) const;
  /// Looks in both the trainable and the state segments.
  const Segment& segment(const std::string& name) const;
  bool contains(const std::string& name) const { return by_name_.count(name) != 0; }

 private:
  /// @throws Error if two tensors have one name.
  void IndexNames();
  View Allocate(int64_t size, DataType type);

  Device& device_;
  DataType type_;
  std::vector<Segment> segments_, state_segments_;
  std::map<std::string, std::pair<bool, size_t>> by_name_;  // (trainable, index)
  int64_t padded_size_ = 0, parameter_count_ = 0, decayed_size_ = 0;
  std::vector<Buffer> memory_;  // of the views, unless it is another arena's
  View values_, gradients_, state_, bfloat16_values_{};
};

}  // namespace thinwire
