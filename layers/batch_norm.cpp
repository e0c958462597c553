#include "layers/batch_norm.h"

namespace thinwire {
namespace {

class PlannedBatchNorm : public PlannedLayer {
 public:
  PlannedBatchNorm(const PlanningContext& context, const BatchNormShape& shape,
                   const std::vector<LayerTensor>& tensors)
      : operation_(context.device().MakeBatchNorm(shape)),
        channels_(shape.channels),
        scale_(TensorValue(context.arena, tensors[0].spec)),
        shift_(TensorValue(context.arena, tensors[1].spec)),
        running_mean_(TensorValue(context.arena, tensors[2].spec)),
        running_variance_(TensorValue(context.arena, tensors[3].spec)),
        scale_gradient_(context.arena.gradient(tensors[0].spec.name)),
        shift_gradient_(context.arena.gradient(tensors[1].spec.name)) {}

  void Forward(const ForwardOperands& operands, const Pass& pass) override {
    const auto& [x, residual] = operands.inputs;
    if (pass.training) {
      operation_->ForwardTraining(x, residual, scale_, shift_, running_mean_, running_variance_,
                                  SavedMean(operands.saved), SavedInverseDeviation(operands.saved),
                                  operands.output);
    } else {
      operation_->ForwardInference(x, residual, scale_, shift_, running_mean_, running_variance_,
                                   operands.output);
    }
  }

  void Backward(const BackwardOperands& operands, const Pass&) override {
    operation_->Backward(operands.input, operands.output, operands.output_gradient,
                         operands.output_gradient2, scale_, shift_, SavedMean(operands.saved),
                         SavedInverseDeviation(operands.saved), operands.input_gradient_addend,
                         operands.input_gradients[0], operands.input_gradients[1], scale_gradient_,
                         shift_gradient_);
  }

 private:
  View SavedMean(const View& saved) const { return {saved.data, channels_, DataType::kFloat32}; }
  View SavedInverseDeviation(const View& saved) const {
    return {static_cast<float*>(saved.data) + channels_, channels_, DataType::kFloat32};
  }

  std::unique_ptr<BatchNorm> operation_;
  int64_t channels_;
  View scale_, shift_, running_mean_, running_variance_, scale_gradient_, shift_gradient_;
};

}  // namespace

BatchNormLayer::BatchNormLayer(std::string name, int input, std::optional<int> residual,
                               const ImageShape& shape, const Settings& settings)
    : Layer(std::move(name),
            residual ? std::vector<int>{input, *residual} : std::vector<int>{input}, shape),
      shape_{.rows = shape.height * shape.width,
             .channels = shape.channels,
             .residual = residual.has_value(),
             .relu = settings.relu,
             .epsilon = settings.epsilon,
             .momentum = settings.momentum},
      ends_residual_branch_(settings.ends_residual_branch) {}

std::string BatchNormLayer::description() const {
  std::string text = "batch norm";
  if (shape_.residual) text += " + residual";
  if (shape_.relu) text += " + ReLU";
  return text;
}

std::vector<LayerTensor> BatchNormLayer::tensors() const {
  const std::vector<int64_t> channels = {shape_.channels};
  const InitialValue zero{InitialValue::Kind::kConstant, 0}, one{InitialValue::Kind::kConstant, 1};
  return {
      {{name() + ".weight", TensorRole::kBatchNormScale, channels, {}}, one, ends_residual_branch_},
      {{name() + ".bias", TensorRole::kBatchNormShift, channels, {}}, zero},
      {{name() + ".running_mean", TensorRole::kRunningMean, channels, {}}, zero},
      {{name() + ".running_var", TensorRole::kRunningVariance, channels, {}}, one},
  };
}

int64_t BatchNormLayer::forward_flops() const {
  return output_shape().size() * (2 + (shape_.residual ? 1 : 0) + (shape_.relu ? 1 : 0));
}

MemoryTraits BatchNormLayer::memory_traits(bool) const {
  return {.backward_in_place = true,
          .backward_reads_input = true,
          .backward_reads_output = shape_.relu && shape_.residual,  // see BatchNorm::Backward
          .sums_output_gradients = true,
          .writes_input_gradient = true,
          .adds_to_input_gradient = true};
}

int64_t BatchNormLayer::saved_bytes(int64_t) const {
  return 2 * shape_.channels * SizeOf(DataType::kFloat32);  // mean and 1/deviation
}

std::unique_ptr<PlannedLayer> BatchNormLayer::Plan(const PlanningContext& context) const {
  BatchNormShape shape = shape_;
  shape.rows *= context.batch;
  shape.type = context.activations;
  return std::make_unique<PlannedBatchNorm>(context, shape, tensors());
}

}  // namespace thinwire
