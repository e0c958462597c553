// What a layer is: a device-free description, and that description planned on a device.
#pragma once

#include <array>
#include <cassert>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "kernels/device.h"
#include "kernels/parameter_arena.h"

namespace thinwire {

/// Shape of one image's activation, NHWC without N. A vector of n features is [1, 1, n].
struct ImageShape {
  int64_t height = 1, width = 1, channels = 0;

  int64_t size() const { return height * width * channels; }
  bool operator==(const ImageShape&) const = default;
};

/// "32x32x64", or "512" for a vector.
std::string FormatShape(const ImageShape& shape);

/// How a tensor is drawn at the start of training.
struct InitialValue {
  enum class Kind : uint8_t { kConstant, kUniform, kNormal };
  Kind kind = Kind::kConstant;
  double value = 0;  // the constant, the bound of ±bound, or the standard deviation
};

/// A tensor that a layer owns.
struct LayerTensor {
  TensorSpec spec;
  InitialValue initial;
  /// Scale of the batch norm that ends a residual branch: may start at zero instead.
  bool ends_residual_branch = false;
};

/// What a layer's two passes read and may overwrite; activation memory is planned from it.
struct MemoryTraits {
  bool forward_passes_through = false;   // the output is the input: no forward step at all
  bool forward_in_place = false;         // the output may overwrite any of the inputs
  bool backward_passes_through = false;  // each input's gradient is the output's: no backward step
  bool backward_in_place = false;        // an input's gradient may overwrite an output's gradient
  bool backward_reads_input = false;     // the first input
  bool backward_reads_output = false;
  bool sums_output_gradients = false;   // takes the gradients of two consumers and sums them
  bool writes_input_gradient = false;   // of its first input, even if nobody needs it
  bool adds_to_input_gradient = false;  // takes another consumer's gradient of its first input
};

/// Memory that a forward step works on; what a layer does not have is empty.
struct ForwardOperands {
  std::array<ConstView, 2> inputs;
  View output;
  View saved;  // Layer::saved_bytes for the backward pass, kUint8; empty in an inference network
};

/// Memory that a backward step works on. `inputs` and `output` are given where the traits ask for
/// them, an input's gradient where somebody needs it.
struct BackwardOperands {
  ConstView input;
  ConstView output;
  View saved;
  ConstView output_gradient;
  ConstView output_gradient2;       // see MemoryTraits::sums_output_gradients
  ConstView input_gradient_addend;  // see MemoryTraits::adds_to_input_gradient
  std::array<View, 2> input_gradients;
};

/// What distinguishes one pass from another.
struct Pass {
  bool training = false;
  uint64_t step = 0;
};

/// A layer planned for one device and batch size.
class PlannedLayer {
 public:
  virtual ~PlannedLayer() = default;
  virtual void Forward(const ForwardOperands& operands, const Pass& pass) = 0;
  /// Overwrites the gradients of its parameters and of its inputs.
  virtual void Backward(const BackwardOperands& operands, const Pass& pass) = 0;
};

/// What a layer is planned with.
struct PlanningContext {
  ParameterArena& arena;
  int64_t batch = 0;
  uint64_t seed = 0;                          // of dropout
  GradientUse gradients = {};                 // that Backward will be asked for
  DataType activations = DataType::kFloat32;  // or kBFloat16

  Device& device() const { return arena.device(); }
};

/// The description of a layer: immutable, and shared by copies of a graph.
class Layer {
 public:
  /// @param inputs Indices of the graph's values that it reads, at most two.
  Layer(std::string name, std::vector<int> inputs, const ImageShape& output_shape)
      : name_(std::move(name)), inputs_(std::move(inputs)), output_shape_(output_shape) {
    assert(!inputs_.empty() && inputs_.size() <= 2);
  }
  virtual ~Layer() = default;

  /// PyTorch's module path: "layer1.0.conv1".
  const std::string& name() const { return name_; }
  const std::vector<int>& inputs() const { return inputs_; }
  const ImageShape& output_shape() const { return output_shape_; }

  /// For people: "convolution 3x3, stride 2".
  virtual std::string description() const = 0;
  virtual std::vector<LayerTensor> tensors() const { return {}; }
  /// Floating-point operations of the forward pass of one image; a multiply-add counts as 2.
  virtual int64_t forward_flops() const = 0;
  virtual MemoryTraits memory_traits(bool training) const = 0;
  /// Bytes that the forward pass of a batch saves for the backward pass, besides activations.
  virtual int64_t saved_bytes(int64_t /*batch*/) const { return 0; }
  /// @throws Error if the arena does not hold the layer's tensors.
  virtual std::unique_ptr<PlannedLayer> Plan(const PlanningContext& context) const = 0;

 private:
  std::string name_;
  std::vector<int> inputs_;
  ImageShape output_shape_;
};

/// The memory of `tensor` in the arena, of its copy in bfloat16 if that is what `activations` are.
/// @throws Error if it is absent or of another size.
View TensorValue(const ParameterArena& arena, const TensorSpec& tensor,
                 DataType activations = DataType::kFloat32);

}  // namespace thinwire
