#include "train/kernel_cases.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "kernels/random.h"

namespace thinwire {
namespace {

constexpr double kBit = 1.0 / 8;               // bytes
constexpr double kTopKShare = 0.016;           // of all elements
constexpr size_t kLargestMessages = 8;         // workers
constexpr size_t kOwnBits = kLargestMessages;  // of the message that passes overwrite

/// Names cases of one operand size.
class CaseList {
 public:
  explicit CaseList(KernelOperands& operands) : operands_(operands) {}

  /// @param bytes An element.
  void Add(const std::string& name, double bytes, std::function<void()> run) {
    cases_.push_back({.name = name,
                      .bytes = bytes * static_cast<double>(operands_.elements()),
                      .run = std::move(run)});
  }
  std::vector<KernelCase> Take() { return std::move(cases_); }

 private:
  KernelOperands& operands_;
  std::vector<KernelCase> cases_;
};

/// Memory of random values in [-0.5, 0.5).
Buffer RandomBuffer(Device& device, int64_t size, uint64_t seed) {
  std::vector<float> values(static_cast<size_t>(size));
  RandomStream random(seed, 0);
  for (float& value : values) value = random.Uniform() - 0.5f;
  Buffer buffer = device.Allocate(size * SizeOf(DataType::kFloat32));
  device.CopyFromHost(values.data(), buffer.view());
  return buffer;
}

UpdateCommon Common() { return {.learning_rate = 1e-4}; }
AdamUpdate PaperAmsgrad() {
  return {.common = Common(), .form = AdamUpdate::Form::kPaper, .beta2 = 0.99};
}

void AddSignCases(KernelOperands& o, CaseList& list) {
  const std::shared_ptr<SignCompression> signs = o.device().MakeSignCompression(
      {.size = o.padded(), .runs = {{{0, o.elements()}, 0}}, .group_sizes = {o.elements()}});
  const auto sums = [buffer = std::make_shared<Buffer>(o.device().Allocate(
                         SizeOf(DataType::kFloat64)))] { return buffer->view(DataType::kFloat64); };
  const auto bits = [&o] { return o.Bits(kOwnBits); };
  const auto gradient = [&o] { return CompressionInput{.values = o.Vector(0)}; };
  list.Add("sign/pack", 4 + kBit, [=] { signs->Pack(gradient(), bits(), sums()); });
  list.Add("sign/pack_difference", 12 + 2 * kBit, [=, &o] {
    signs->PackDifference(gradient(), o.Message(kOwnBits), o.Vector(2), bits(), sums());
  });
  list.Add("sign/pack_difference+decay", 16 + 2 * kBit, [=, &o] {
    signs->PackDifference({.values = o.Vector(0),
                           .parameters = o.Vector(3),
                           .weight_decay = 5e-4,
                           .decayed_size = o.elements()},
                          o.Message(kOwnBits), o.Vector(2), bits(), sums());
  });
  list.Add("sign/pack_sum", 12 + kBit, [=, &o] {
    signs->PackSum(gradient(), o.Message(kOwnBits).scales, o.Vector(2), bits(), sums());
  });
  for (const size_t workers : {size_t{1}, size_t{4}, kLargestMessages}) {
    const double all_bits = static_cast<double>(workers) * kBit;
    list.Add(fmt::format("sign/pack_mean_difference/{}", workers), 12 + kBit + all_bits, [=, &o] {
      signs->PackMeanDifference(o.Messages(workers), o.Vector(2), o.Vector(3), bits(), sums());
    });
    list.Add(fmt::format("sign/pack_mean_sum/{}", workers), 8 + kBit + all_bits, [=, &o] {
      signs->PackMeanSum(o.Messages(workers), o.Message(kOwnBits).scales, o.Vector(2), bits(),
                         sums());
    });
    list.Add(fmt::format("sign/mean/{}", workers), 4 + all_bits,
             [=, &o] { signs->Mean(o.Messages(workers), false, o.Vector(2)); });
  }
  list.Add("sign/add", 8 + kBit, [=, &o] { signs->Add(o.Message(0), 1, o.Vector(2)); });
  list.Add("sign/settle_error", 8,
           [=, &o] { signs->SettleError(o.Message(0).scales, o.Vector(2)); });
  list.Add("sign/add_and_update", 40 + kBit, [=, &o] {
    signs->AddAndUpdate(o.Message(0), PaperAmsgrad(), o.Vector(2), o.Vector(4), o.Variance(2),
                        o.Variance(3), o.Vector(5));
  });
}

/// Top-K of normal values, of differences, and of values that are all the same.
void AddTopKCases(KernelOperands& o, CaseList& list) {
  struct Chosen {
    Buffer indices, values;
  };
  const auto k =
      std::max<int64_t>(1, static_cast<int64_t>(kTopKShare * static_cast<double>(o.elements())));
  const auto make_chosen = [&] {
    return std::make_shared<Chosen>(Chosen{o.device().Allocate(k * SizeOf(DataType::kInt32)),
                                           o.device().Allocate(k * SizeOf(DataType::kFloat32))});
  };
  const std::shared_ptr<TopK> top_k =
      o.device().MakeTopK({.size = o.padded(), .ranges = {{0, o.elements()}}, .k = k});
  const auto select = [top_k](ConstView values, ConstView state, const Chosen& chosen) {
    top_k->Select({.values = values}, state, state ? -1 : 0, chosen.indices.view(DataType::kInt32),
                  chosen.values.view());
  };
  const auto chosen = make_chosen();
  list.Add("top_k", 4, [=, &o] { select(o.Vector(0), {}, *chosen); });
  list.Add("top_k/difference", 8, [=, &o] { select(o.Vector(0), o.Vector(3), *chosen); });
  list.Add("top_k/constant", 4, [=, &o, constant = std::make_shared<Buffer>()] {
    if (!*constant) {
      *constant = o.device().Allocate(o.padded() * SizeOf(DataType::kFloat32));
      const std::vector<float> halves(static_cast<size_t>(o.elements()), 0.5f);
      o.device().CopyFromHost(halves.data(), constant->view().Slice(0, o.elements()));
    }
    select(constant->view(), {}, *chosen);
  });
  // What the ranks choose together, of each rank's candidates.
  const std::shared_ptr<TopKShare> share =
      o.device().MakeTopKShare({.size = k, .k = std::max<int64_t>(k / 2, 1)});
  const auto counts = std::make_shared<Buffer>(o.device().Allocate(
      TopKShare::Rounds(DataType::kFloat32) * TopKShare::kDigits * SizeOf(DataType::kInt32)));
  const auto size = std::make_shared<Buffer>(o.device().Allocate(sizeof(TopKShare::Size)));
  list.Add("top_k/share", kTopKShare * 20,
           [=, &o, candidates = make_chosen(), known = std::make_shared<bool>(false)] {
             if (!std::exchange(*known, true)) select(o.Vector(0), {}, *candidates);
             const ConstView values = candidates->values.view();
             for (int64_t round = 0; round < TopKShare::Rounds(values.type); ++round) {
               share->Count(values, round, counts->view(DataType::kInt32));
             }
             share->Measure(values, counts->view(DataType::kInt32), size->view(DataType::kUint8));
           });
  list.Add("scatter_add", kTopKShare * 16,
           [=, &o, largest = make_chosen(), known = std::make_shared<bool>(false)] {
             if (!std::exchange(*known, true)) select(o.Vector(0), {}, *largest);
             o.device().ScatterAdd(largest->indices.view(DataType::kInt32), largest->values.view(),
                                   0.5, o.Vector(2));
           });
}

}  // namespace

KernelOperands::KernelOperands(Device& device, int64_t elements)
    : device_(device),
      elements_(elements),
      padded_((elements + 127) / 128 * 128),
      vectors_(8),
      variances_(4),
      bits_(kOwnBits + 1),
      scale_(device.Allocate(SizeOf(DataType::kFloat32))) {
  const float scale = 1e-3f;
  device.CopyFromHost(&scale, scale_.view());
}

/// Every buffer holds the same values, each from another place on, which is much faster made.
Buffer KernelOperands::Upload(bool squares, size_t index) {
  const auto count = static_cast<size_t>(elements_);
  if (normal_.empty()) {
    normal_.resize(count);
    RandomStream random(0, 0);
    for (float& value : normal_) value = static_cast<float>(random.Normal());
  }
  std::vector<float> values(count);
  const size_t first = index * 7919 % count;
  std::rotate_copy(normal_.begin(), normal_.begin() + static_cast<std::ptrdiff_t>(first),
                   normal_.end(), values.begin());
  if (squares) {
    for (float& value : values) value *= value;
  }
  Buffer buffer = device_.Allocate(padded_ * SizeOf(DataType::kFloat32));
  device_.CopyFromHost(values.data(), buffer.view().Slice(0, elements_));
  return buffer;
}

View KernelOperands::Vector(size_t index) {
  if (!vectors_.at(index)) vectors_[index] = Upload(false, index);
  return vectors_[index].view();
}

View KernelOperands::Variance(size_t index) {
  if (!variances_.at(index)) variances_[index] = Upload(true, index);
  return variances_[index].view();
}

View KernelOperands::Bits(size_t index) {
  if (!bits_.at(index)) {
    std::vector<uint32_t> words(static_cast<size_t>(padded_ / 32));
    RandomStream random(100 + index, 0);
    for (uint32_t& word : words) word = random.Next();
    bits_[index] = device_.Allocate(padded_ / 8);
    device_.CopyFromHost(words.data(), bits_[index].view(DataType::kInt32));
  }
  return bits_[index].view(DataType::kInt32);
}

SignMessage KernelOperands::Message(size_t index) { return {Bits(index), scale_.view()}; }

std::vector<SignMessage> KernelOperands::Messages(size_t count) {
  std::vector<SignMessage> messages;
  for (size_t i = 0; i < count; ++i) messages.push_back(Message(i));
  return messages;
}

KernelCase CopyCase(KernelOperands& o) {
  CaseList list(o);
  list.Add("copy", 8, [&o] {
    o.device().Copy(o.Vector(0).Slice(0, o.elements()), o.Vector(1).Slice(0, o.elements()));
  });
  return list.Take().front();
}

std::vector<KernelCase> CompressionCases(KernelOperands& o) {
  CaseList list(o);
  AddSignCases(o, list);
  AddTopKCases(o, list);
  list.Add("evaluate", 12,
           [&o] { o.device().Evaluate({.values = o.Vector(0)}, 0.9, o.Vector(2)); });
  list.Add("sum_parts/4", 5,
           [&o] { o.device().SumParts(o.Vector(0), 0.25, o.Vector(2).Slice(0, o.padded() / 4)); });
  return list.Take();
}

std::vector<KernelCase> UpdateCases(KernelOperands& o) {
  CaseList list(o);
  list.Add("momentum", 20, [&o] {
    o.device().Update(MomentumUpdate{.common = Common(), .momentum = 0.9}, o.Vector(0), o.Vector(4),
                      o.Vector(5));
  });
  list.Add("adam", 28, [&o] {
    o.device().Update(AdamUpdate{.common = Common()}, o.Vector(0), o.Vector(4), o.Variance(0), {},
                      o.Vector(5));
  });
  list.Add("amsgrad", 36, [&o] {
    o.device().Update(PaperAmsgrad(), o.Vector(0), o.Vector(4), o.Variance(0), o.Variance(1),
                      o.Vector(5));
  });
  list.Add("frozen_adam", 16, [&o] {
    o.device().Update(FrozenAdamUpdate{.common = Common()}, o.Vector(4), o.Variance(0),
                      o.Vector(5));
  });
  list.Add("rmsprop", 20, [&o] {
    o.device().Update(RmspropUpdate{.common = Common()}, o.Vector(0), o.Variance(0), {},
                      o.Vector(5));
  });
  list.Add("sign_sgd", 12, [&o] {
    o.device().Update(SignSgdUpdate{.common = Common()}, o.Vector(0), {}, o.Vector(5));
  });
  return list.Take();
}

std::vector<KernelCase> ElementwiseCases(KernelOperands& o) {
  CaseList list(o);
  list.Add("add", 12, [&o] { o.device().Add(o.Vector(0), o.Vector(3), false, o.Vector(1)); });
  list.Add("add+relu", 12, [&o] { o.device().Add(o.Vector(0), o.Vector(3), true, o.Vector(1)); });
  list.Add("relu", 8, [&o] { o.device().Relu(o.Vector(0), o.Vector(1)); });
  list.Add("relu_backward", 12,
           [&o] { o.device().ReluBackward(o.Vector(0), o.Vector(3), o.Vector(1)); });
  list.Add("dropout", 8, [&o] { o.device().Dropout(o.Vector(0), 0.3f, 1, 2, o.Vector(1)); });
  list.Add("average", 12, [&o] { o.device().Average(o.Vector(0), 0.999, o.Vector(1)); });
  list.Add("sum_of_squares", 4,
           [&o, sum = std::make_shared<Buffer>(o.device().Allocate(SizeOf(DataType::kFloat64)))] {
             o.device().SumOfSquares(o.Vector(0), sum->view(DataType::kFloat64));
           });
  list.Add("first_non_finite", 4, [&o] { o.device().FirstNonFinite(o.Vector(0)); });
  return list.Take();
}

std::vector<KernelCase> BatchNormCases(KernelOperands& o, int64_t channels, bool residual) {
  struct Operation {
    BatchNormShape shape;
    std::unique_ptr<BatchNorm> planned;
    Buffer memory;

    View small(int64_t i) const { return memory.view().Slice(i * shape.channels, shape.channels); }
  };
  const BatchNormShape shape{
      .rows = o.elements() / channels, .channels = channels, .residual = residual, .relu = true};
  const auto operation = std::make_shared<Operation>(
      Operation{shape, o.device().MakeBatchNorm(shape),
                o.device().Allocate(8 * channels * SizeOf(DataType::kFloat32))});
  const std::vector<float> ones(static_cast<size_t>(channels), 1.0f);
  // Scale, running variance, and what a forward pass saves.
  for (const int64_t i : {0, 3, 5}) o.device().CopyFromHost(ones.data(), operation->small(i));
  const auto large = [&o, shape](size_t i) {
    return o.Vector(i).Slice(0, shape.rows * shape.channels);
  };
  const auto optional = [=](size_t i) { return residual ? large(i) : View{}; };
  const std::string name = fmt::format("batch_norm{}+relu/{}", residual ? "+add" : "", channels);
  CaseList list(o);
  // Forward: x, then x again, (residual,) y. Backward: x, gradient, then both again, and the
  // gradient of x; with a residual also y, and the masked gradient written where y was.
  list.Add(name + "/forward", residual ? 16 : 12, [=] {
    const auto& op = *operation;
    op.planned->ForwardTraining(large(0), optional(2), op.small(0), op.small(1), op.small(2),
                                op.small(3), op.small(4), op.small(5), large(1));
  });
  list.Add(name + "/inference", residual ? 12 : 8, [=] {
    const auto& op = *operation;
    op.planned->ForwardInference(large(0), optional(2), op.small(0), op.small(1), op.small(2),
                                 op.small(3), large(1));
  });
  list.Add(name + "/backward", residual ? 28 : 20, [=] {
    const auto& op = *operation;
    op.planned->Backward(large(0), optional(1), large(3), {}, op.small(0), op.small(1), op.small(4),
                         op.small(5), {}, large(4), optional(3), op.small(6), op.small(7));
  });
  return list.Take();
}

KernelCase LossCase(KernelOperands& o, int64_t classes) {
  const int64_t batch = std::max<int64_t>(1, o.elements() / classes), size = batch * classes;
  const std::shared_ptr<Loss> loss = o.device().MakeLoss({.batch = batch, .classes = classes});
  const auto labels =
      std::make_shared<Buffer>(o.device().Allocate(batch * SizeOf(DataType::kInt32)));
  return {.name = fmt::format("softmax_loss/{}", classes),
          .bytes = 8 * static_cast<double>(size),
          .run = [=, &o] {
            loss->Run(o.Vector(0).Slice(0, size), labels->view(DataType::kInt32), 1, 1,
                      o.Vector(1).Slice(0, size));
          }};
}

std::vector<KernelCase> LinearCases(Device& device, int64_t n) {
  struct Layer {
    std::unique_ptr<Linear> planned;
    Buffer left, right, result;
  };
  const auto layer = std::make_shared<Layer>(
      Layer{device.MakeLinear({.batch = n, .in_features = n, .out_features = n, .bias = false}),
            RandomBuffer(device, n * n, 1), RandomBuffer(device, n * n, 2),
            device.Allocate(n * n * SizeOf(DataType::kFloat32))});
  const auto make = [&](const char* direction, auto run) {
    return KernelCase{.name = fmt::format("linear/{}/{}", n, direction),
                      .operations = 2 * static_cast<double>(n) * static_cast<double>(n * n),
                      .run = [=] {
                        run(*layer->planned, layer->left.view(), layer->right.view(),
                            layer->result.view());
                      }};
  };
  return {
      make("forward",
           [](Linear& linear, View x, View weight, View y) { linear.Forward(x, weight, {}, y); }),
      make("data", [](Linear& linear, View y_gradient, View weight,
                      View x_gradient) { linear.BackwardData(y_gradient, weight, x_gradient); }),
      make("weights", [](Linear& linear, View x, View y_gradient, View weight_gradient) {
        linear.BackwardWeights(x, y_gradient, weight_gradient, {});
      })};
}

std::vector<KernelCase> ConvolutionCases(Device& device, const ConvolutionShape& shape) {
  struct Layer {
    std::unique_ptr<Convolution> planned;
    Buffer input, filter, output, input_gradient, filter_gradient, output_gradient;
  };
  const auto layer = std::make_shared<Layer>(
      Layer{device.MakeConvolution(shape), RandomBuffer(device, shape.input_size(), 1),
            RandomBuffer(device, shape.filter_size(), 2),
            device.Allocate(shape.output_size() * SizeOf(DataType::kFloat32)),
            device.Allocate(shape.input_size() * SizeOf(DataType::kFloat32)),
            device.Allocate(shape.filter_size() * SizeOf(DataType::kFloat32)),
            RandomBuffer(device, shape.output_size(), 3)});
  const double pixels = static_cast<double>(shape.batch * shape.out_height() * shape.out_width());
  const auto make = [&](const char* direction, std::function<void()> run) {
    return KernelCase{.name = fmt::format("convolution/{}x{}x{}/{}", shape.height, shape.width,
                                          shape.in_channels, direction),
                      .operations = 2 * pixels * static_cast<double>(shape.filter_size()),
                      .run = std::move(run)};
  };
  return {make("forward",
               [layer] {
                 layer->planned->Forward(layer->input.view(), layer->filter.view(), {},
                                         layer->output.view());
               }),
          make("data",
               [layer] {
                 layer->planned->BackwardData(layer->output_gradient.view(), layer->filter.view(),
                                              layer->input_gradient.view());
               }),
          make("weights", [layer] {
            layer->planned->BackwardWeights(layer->input.view(), layer->output_gradient.view(),
                                            layer->filter_gradient.view(), {});
          })};
}

}  // namespace thinwire
