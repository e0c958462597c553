#include "layers/layer_graph.h"

#include <fmt/core.h>

#include <algorithm>

#include "kernels/error.h"
#include "layers/batch_norm.h"
#include "layers/elementwise.h"
#include "layers/global_average_pooling.h"

namespace thinwire {
namespace {

void CheckEqualShapes(const std::string& name, const ImageShape& a, const ImageShape& b) {
  if (a == b) return;
  throw Error(fmt::format("layer {}: cannot add {} to {}", name, FormatShape(b), FormatShape(a)),
              "give the shortcut the same stride and channels");
}

}  // namespace

LayerGraph::LayerGraph(std::string name, const ImageShape& image, int64_t classes)
    : name_(std::move(name)), image_(image), classes_(classes), flattened_from_(1) {
  if (image.height < 1 || image.width < 1 || image.channels < 1 || classes < 1) {
    throw Error(fmt::format("model {}: an image of {}x{}x{} in {} classes makes no sense", name_,
                            image.height, image.width, image.channels, classes),
                "all sizes must be at least 1", Error::Kind::kUsage);
  }
}

Value LayerGraph::Append(std::shared_ptr<const Layer> layer, const ImageShape& flattened_from) {
  layers_.push_back(std::move(layer));
  flattened_from_.push_back(flattened_from);
  return {static_cast<int>(layers_.size())};
}

Value LayerGraph::AppendElementwise(std::shared_ptr<const Layer> layer) {
  const ImageShape flattened_from = flattened_from_.at(static_cast<size_t>(layer->inputs()[0]));
  return Append(std::move(layer), flattened_from);
}

const ImageShape& LayerGraph::shape(Value value) const {
  return value.index == 0 ? image_
                          : layers_.at(static_cast<size_t>(value.index - 1))->output_shape();
}

Value LayerGraph::Convolution(const std::string& name, Value x, const ConvolutionOptions& options) {
  return Append(std::make_shared<ConvolutionLayer>(name, x.index, shape(x), options));
}

Value LayerGraph::BatchNorm(const std::string& name, Value x, const BatchNormOptions& options) {
  std::optional<int> residual;
  if (options.residual) {
    CheckEqualShapes(name, shape(x), shape(*options.residual));
    residual = options.residual->index;
  }
  return AppendElementwise(std::make_shared<BatchNormLayer>(
      name, x.index, residual, shape(x),
      BatchNormLayer::Settings{.relu = options.relu,
                               .epsilon = options.epsilon,
                               .momentum = options.momentum,
                               .ends_residual_branch = residual.has_value()}));
}

Value LayerGraph::Linear(const std::string& name, Value x, const LinearOptions& options) {
  return Append(std::make_shared<LinearLayer>(
      name, x.index, shape(x), flattened_from_.at(static_cast<size_t>(x.index)), options));
}

Value LayerGraph::Relu(const std::string& name, Value x) {
  return AppendElementwise(std::make_shared<ReluLayer>(name, std::vector<int>{x.index}, shape(x)));
}

Value LayerGraph::MaxPool(const std::string& name, Value x, const PoolingOptions& options) {
  return Append(
      std::make_shared<PoolingLayer>(name, x.index, shape(x), PoolingShape::Kind::kMax, options));
}

Value LayerGraph::AveragePool(const std::string& name, Value x, const PoolingOptions& options) {
  return Append(std::make_shared<PoolingLayer>(name, x.index, shape(x),
                                               PoolingShape::Kind::kAverage, options));
}

Value LayerGraph::GlobalAveragePool(const std::string& name, Value x) {
  return Append(std::make_shared<GlobalAveragePoolingLayer>(name, x.index, shape(x)));
}

Value LayerGraph::PadShortcut(const std::string& name, Value x, const PadShortcutOptions& options) {
  return Append(std::make_shared<PadShortcutLayer>(name, x.index, shape(x), options));
}

Value LayerGraph::Add(const std::string& name, Value a, Value b) {
  CheckEqualShapes(name, shape(a), shape(b));
  return AppendElementwise(
      std::make_shared<AddLayer>(name, std::vector<int>{a.index, b.index}, shape(a)));
}

Value LayerGraph::Dropout(const std::string& name, Value x, double rate) {
  if (rate == 0) return x;
  return AppendElementwise(
      std::make_shared<DropoutLayer>(name, x.index, shape(x), static_cast<float>(rate)));
}

Value LayerGraph::Flatten(const std::string& name, Value x) {
  return Append(std::make_shared<FlattenLayer>(name, x.index, shape(x)), shape(x));
}

std::vector<TensorSpec> LayerGraph::tensor_specs() const {
  std::vector<TensorSpec> specs;
  for (const auto& layer : layers_) {
    for (LayerTensor& tensor : layer->tensors()) specs.push_back(std::move(tensor.spec));
  }
  return specs;
}

int64_t LayerGraph::parameter_count() const {
  int64_t count = 0;
  for (const TensorSpec& spec : tensor_specs()) count += spec.trainable() ? spec.size() : 0;
  return count;
}

int64_t LayerGraph::forward_flops() const {
  int64_t flops = 0;
  for (const auto& layer : layers_) flops += layer->forward_flops();
  return flops;
}

void LayerGraph::CheckComplete() const {
  const std::string remedy = "end the model with a linear layer of that many outputs";
  if (layers_.empty()) throw Error(fmt::format("model {} has no layers", name_), remedy);
  const Layer& last = *layers_.back();
  if (last.output_shape() != ImageShape{1, 1, classes_}) {
    throw Error(fmt::format("model {}: its last layer, {}, yields {} where {} logits are needed",
                            name_, last.name(), FormatShape(last.output_shape()), classes_),
                remedy);
  }
  std::vector<bool> used(layers_.size() + 1, false);
  used.back() = true;
  for (const auto& layer : layers_) {
    for (const int input : layer->inputs()) used[static_cast<size_t>(input)] = true;
  }
  const auto unused = std::find(used.begin() + 1, used.end(), false);
  if (unused != used.end()) {
    const auto& layer = layers_[static_cast<size_t>(unused - used.begin() - 1)];
    throw Error(fmt::format("model {}: the output of layer {} is never used", name_, layer->name()),
                "remove the layer or use its output");
  }
}

}  // namespace thinwire
