// Convolutions against the float64 loops.
#include "tests/reference/convolution.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "kernels/error.h"
#include "tests/device_test.h"
#include "tests/reference/tolerance.h"

namespace thinwire {
namespace {

/// `amplification` is how much larger the intermediate values of the algorithm are; `type` is what
/// results are rounded to when they are stored, and `before` what was stored on the way.
void ExpectNear(const char* what, const std::vector<float>& actual,
                const std::vector<double>& expected, int64_t n, double amplification,
                DataType type = DataType::kFloat32, const std::vector<double>& before = {}) {
  ASSERT_EQ(actual.size(), expected.size());
  const double tolerance = amplification * reference::SumTolerance(n);
  for (size_t i = 0; i < actual.size(); ++i) {
    const double stored =
        before.empty() ? tolerance : reference::Stored(type, tolerance, before[i]);
    ASSERT_NEAR(actual[i], expected[i], reference::Stored(type, stored, expected[i]))
        << what << " at " << i;
  }
}

/// How much larger than the definition's products the terms of Winograd's F(4x4, 3x3) are: with |·|
/// element by element and ones for data, forward Σ|terms| is |Aᵀ|[(|G| 1 |G|ᵀ) ⊙ (|Bᵀ| 1 |B|)]|A|
/// against 9 products for each output, for the filter gradient |Gᵀ|[(|A| 1 |A|ᵀ) ⊙ (|Bᵀ| 1 |B|)]|G|
/// against 16 products for each tile. Both are squares of one-dimensional factors.
double WinogradAmplification(int direction) {
  const double a = 0.625, b = 1.5, a2 = a * a, b2 = b * b;
  const double points[] = {0, a, -a, b, -b};
  const double factors[] = {1 / (a2 * b2), 1 / (2 * a2 * (b2 - a2)), 1 / (2 * a2 * (b2 - a2)),
                            1 / (2 * b2 * (b2 - a2)), 1 / (2 * b2 * (b2 - a2))};
  // Sums of |Bᵀ|'s rows; rows of a pair ±p are alike, as are those of 0 and infinity.
  const double input[] = {a2 * b2 + a2 + b2 + 1, (1 + a) * (1 + b2), (1 + a) * (1 + b2),
                          (1 + b) * (1 + a2), (1 + b) * (1 + a2)};
  double worst = 0;
  for (int i = 0; i < (direction == 2 ? 3 : 4); ++i) {
    double sum = 0;
    for (int p = 0; p < 5; ++p) {
      const double x = std::abs(points[p]);
      const double filter = factors[p] * (1 + x + x * x);
      const double output = 1 + x + x * x + x * x * x;
      const double power = std::pow(x, i);
      sum += direction == 2 ? factors[p] * power * output * input[p] : power * filter * input[p];
    }
    if (i == (direction == 2 ? 2 : 3)) sum += input[0];  // the point at infinity
    worst = std::max(worst, sum / (direction == 2 ? 4 : 3));
  }
  return worst * worst;
}

/// Likewise for stride 2: F(4, 2) with the points 0, ±a, b and infinity on the outer taps, and the
/// middle tap as it is.
double WinogradStride2Amplification(int direction) {
  const double a = 0.75, b = 2, a2 = a * a;
  const double points[] = {0, a, a, b};
  const double factors[] = {1 / (a2 * b), 1 / (2 * a2 * (b - a)), 1 / (2 * a2 * (a + b)),
                            1 / (b * (b * b - a2))};
  const double input[] = {a2 * b + a2 + b + 1, a * b + (b - a) + 1, a * b + (a + b) + 1, a2 + 1};
  const double infinity = a2 * b + a2 + b + 1;
  double worst = 0;
  for (int i = 0; i < (direction == 2 ? 2 : 4); ++i) {
    double sum = 0;
    for (int p = 0; p < 4; ++p) {
      const double x = points[p], power = std::pow(x, i);
      sum += direction == 2 ? factors[p] * power * (1 + x + x * x + x * x * x) * input[p]
                            : power * factors[p] * (1 + x) * input[p];
    }
    if (i == (direction == 2 ? 1 : 3)) sum += infinity;
    worst = std::max(worst, direction == 2 ? sum / 4 : (sum + 1) / 3);
  }
  return worst * worst;
}

double Amplification(const Convolution& convolution, int direction) {
  const std::string algorithm = convolution.algorithm(direction);
  if (algorithm.starts_with("winograd 4x4")) return WinogradAmplification(direction);
  // F(2x2, 3x3): likewise, |Bᵀ| has rows of sum 2, |G| of 1 and 3/2, |A| of 1 and 2.
  if (algorithm.starts_with("winograd 2x2")) return direction == 2 ? 9.0 : 64.0 / 9;
  // Stride 2, F(4, 2) on the outer taps: the same sums, worked out by the same formula.
  if (algorithm.starts_with("winograd stride 2")) return WinogradStride2Amplification(direction);
  return 1;
}

/// All three directions of one shape, on misaligned operands.
void ExpectAgreesWithReference(Device& device, const ConvolutionShape& s) {
  SCOPED_TRACE(::testing::Message()
               << s.batch << "x" << s.height << "x" << s.width << "x" << s.in_channels << " -> "
               << s.out_channels << ", filter " << s.kernel_height << "x" << s.kernel_width
               << ", stride " << s.stride_height << "x" << s.stride_width << ", padding "
               << s.padding_height << "x" << s.padding_width << ", groups " << s.groups << ", bias "
               << s.bias << (s.type == DataType::kBFloat16 ? ", bf16" : ""));
  const auto x = RoundTo(s.type, RandomNormal(s.input_size(), 1)),
             w = RoundTo(s.type, RandomNormal(s.filter_size(), 2)),
             b = RoundTo(s.type, RandomNormal(s.bias ? s.out_channels : 0, 3)),
             dy = RoundTo(s.type, RandomNormal(s.output_size(), 4));
  ActivationBuffer input(device, s.type, x, LeftFree(device, 1)),
      filter(device, s.type, w, LeftFree(device, 3)), bias(device, s.type, b),
      output_gradient(device, s.type, dy, LeftFree(device, 5)),
      output(device, s.type, s.output_size(), LeftFree(device, 7)),
      input_gradient(device, s.type, s.input_size(), LeftFree(device, 1));
  TestBuffer<float> filter_gradient(device, s.filter_size(), LeftFree(device, 2)),
      bias_gradient(device, s.bias ? s.out_channels : 0);
  const auto convolution = device.MakeConvolution(s);
  SCOPED_TRACE(::testing::Message()
               << "forward " << convolution->algorithm(0) << ", data " << convolution->algorithm(1)
               << ", weights " << convolution->algorithm(2));
  convolution->Forward(input, filter, s.bias ? bias.view() : View{}, output);
  convolution->BackwardData(output_gradient, filter, input_gradient);
  convolution->BackwardWeights(input, output_gradient, filter_gradient,
                               s.bias ? bias_gradient.view() : View{});
  // GPUs round in front of the bias, too, and round the filter's gradient.
  const bool gpu = device.kind() == std::string("cuda");
  const int64_t window = s.kernel_height * s.kernel_width;
  const int64_t pixels = s.batch * s.out_height() * s.out_width();
  std::vector<double> before_bias;
  if (s.bias && gpu) {
    ConvolutionShape alone = s;
    alone.bias = false;
    before_bias = reference::ConvolutionForward(alone, x, w, {});
  }
  ExpectNear("output", output.Read(), reference::ConvolutionForward(s, x, w, b),
             window * s.in_channels / s.groups, Amplification(*convolution, 0), s.type,
             before_bias);
  ExpectNear("input gradient", input_gradient.Read(), reference::ConvolutionBackwardData(s, dy, w),
             window * s.out_channels / s.groups, Amplification(*convolution, 1), s.type);
  const auto expected = reference::ConvolutionBackwardWeights(s, x, dy);
  ExpectNear("filter gradient", filter_gradient.Read(), expected.filter, pixels,
             Amplification(*convolution, 2), gpu ? s.type : DataType::kFloat32);
  if (s.bias) ExpectNear("bias gradient", bias_gradient.Read(), expected.bias, pixels, 1);
}

template <typename Backend>
class ConvolutionTest : public DeviceTest<Backend> {};
TYPED_TEST_SUITE(ConvolutionTest, Backends);

TYPED_TEST(ConvolutionTest, AgreesForEveryChannelCount) {
  for (const int64_t in : {1, 3, 16, 17, 31, 32, 33, 64}) {
    for (const int64_t out : {1, 16, 17, 32, 33, 64}) {
      ExpectAgreesWithReference(*this->device_, {.batch = 2,
                                                 .height = 5,
                                                 .width = 7,
                                                 .in_channels = in,
                                                 .out_channels = out,
                                                 .kernel_height = 3,
                                                 .kernel_width = 3,
                                                 .padding_height = 1,
                                                 .padding_width = 1});
    }
  }
}

TYPED_TEST(ConvolutionTest, AgreesForEveryImageSize) {
  for (const auto& [height, width] : {std::pair{1, 1}, {2, 2}, {4, 4}, {5, 7}, {8, 9}, {33, 31}}) {
    for (const int64_t channels : {3, 16, 64}) {
      ExpectAgreesWithReference(*this->device_, {.batch = 3,
                                                 .height = height,
                                                 .width = width,
                                                 .in_channels = channels,
                                                 .out_channels = 32,
                                                 .kernel_height = 3,
                                                 .kernel_width = 3,
                                                 .padding_height = 1,
                                                 .padding_width = 1});
    }
  }
}

// Channel counts and tile counts on both sides of the bounds at which Winograd's passes change.
TYPED_TEST(ConvolutionTest, AgreesForEveryImageSizeOfStride2) {
  for (const auto& [height, width] : {std::pair{1, 1}, {4, 4}, {7, 8}, {8, 8}, {9, 10}, {33, 31}}) {
    for (const int64_t padding : {0, 1, 2}) {
      if (height + 2 * padding < 3) continue;
      ExpectAgreesWithReference(*this->device_, {.batch = 2,
                                                 .height = height,
                                                 .width = width,
                                                 .in_channels = 48,
                                                 .out_channels = 48,
                                                 .kernel_height = 3,
                                                 .kernel_width = 3,
                                                 .stride_height = 2,
                                                 .stride_width = 2,
                                                 .padding_height = padding,
                                                 .padding_width = padding,
                                                 .bias = true});
    }
  }
  for (const auto& [in, out] : {std::pair{128, 144}, {256, 512}}) {
    ExpectAgreesWithReference(*this->device_, {.batch = 2,
                                               .height = 8,
                                               .width = 8,
                                               .in_channels = in,
                                               .out_channels = out,
                                               .kernel_height = 3,
                                               .kernel_width = 3,
                                               .stride_height = 2,
                                               .stride_width = 2,
                                               .padding_height = 1,
                                               .padding_width = 1});
  }
}

TYPED_TEST(ConvolutionTest, AgreesForManyChannels) {
  for (const auto& [in, out] : {std::pair{128, 128}, {256, 512}, {16, 1024}, {512, 272}}) {
    ExpectAgreesWithReference(*this->device_, {.batch = 1,
                                               .height = 3,
                                               .width = 5,
                                               .in_channels = in,
                                               .out_channels = out,
                                               .kernel_height = 3,
                                               .kernel_width = 3,
                                               .padding_height = 1,
                                               .padding_width = 1,
                                               .bias = true});
  }
  ExpectAgreesWithReference(*this->device_, {.batch = 140,
                                             .height = 1,
                                             .width = 1,
                                             .in_channels = 512,
                                             .out_channels = 272,
                                             .kernel_height = 3,
                                             .kernel_width = 3,
                                             .padding_height = 1,
                                             .padding_width = 1});
}

TYPED_TEST(ConvolutionTest, AgreesForEveryPaddingOfThreeByThree) {
  for (const int64_t padding : {0, 1, 2, 3}) {
    ExpectAgreesWithReference(*this->device_, {.batch = 21,
                                               .height = 9,
                                               .width = 7,
                                               .in_channels = 32,
                                               .out_channels = 48,
                                               .kernel_height = 3,
                                               .kernel_width = 3,
                                               .padding_height = padding,
                                               .padding_width = padding,
                                               .bias = true});
  }
}

TYPED_TEST(ConvolutionTest, AgreesForEveryWindow) {
  for (const int64_t kernel : {1, 2, 3, 5, 7}) {
    for (const int64_t stride : {1, 2, 3}) {
      for (const int64_t padding : {0, 1, 2, 3}) {
        ExpectAgreesWithReference(*this->device_, {.batch = 1,
                                                   .height = 9,
                                                   .width = 7,
                                                   .in_channels = 17,
                                                   .out_channels = 16,
                                                   .kernel_height = kernel,
                                                   .kernel_width = kernel,
                                                   .stride_height = stride,
                                                   .stride_width = stride,
                                                   .padding_height = padding,
                                                   .padding_width = padding,
                                                   .bias = true});
      }
    }
  }
}

TYPED_TEST(ConvolutionTest, AgreesForUnequalSidesAndGroups) {
  ExpectAgreesWithReference(*this->device_, {.batch = 2,
                                             .height = 6,
                                             .width = 11,
                                             .in_channels = 4,
                                             .out_channels = 5,
                                             .kernel_height = 3,
                                             .kernel_width = 1,
                                             .stride_height = 1,
                                             .stride_width = 2,
                                             .padding_height = 1,
                                             .padding_width = 0});
  for (const int64_t groups : {2, 16, 32}) {
    ExpectAgreesWithReference(*this->device_, {.batch = 5,
                                               .height = 6,
                                               .width = 5,
                                               .in_channels = 32,
                                               .out_channels = 64,
                                               .kernel_height = 3,
                                               .kernel_width = 3,
                                               .padding_height = 1,
                                               .padding_width = 1,
                                               .groups = groups,
                                               .bias = true});
  }
}

TYPED_TEST(ConvolutionTest, AgreesInBFloat16) {
  for (const auto& [in, out] : {std::pair{3, 16}, {16, 16}, {17, 33}, {64, 32}}) {
    for (const int64_t kernel : {1, 3, 5}) {
      for (const int64_t stride : {1, 2}) {
        for (const bool bias : {false, true}) {
          ExpectAgreesWithReference(*this->device_, {.batch = 3,
                                                     .height = 9,
                                                     .width = 7,
                                                     .in_channels = in,
                                                     .out_channels = out,
                                                     .kernel_height = kernel,
                                                     .kernel_width = kernel,
                                                     .stride_height = stride,
                                                     .stride_width = stride,
                                                     .padding_height = kernel / 2,
                                                     .padding_width = kernel / 2,
                                                     .bias = bias,
                                                     .type = DataType::kBFloat16});
        }
      }
    }
  }
  for (const int64_t batch : {0, 5}) {
    ExpectAgreesWithReference(*this->device_, {.batch = batch,
                                               .height = 6,
                                               .width = 5,
                                               .in_channels = 32,
                                               .out_channels = 64,
                                               .kernel_height = 3,
                                               .kernel_width = 3,
                                               .groups = 16,
                                               .type = DataType::kBFloat16});
  }
}

// Shapes that take our own kernels; oneDNN's weight gradients are summed thread by thread.
TEST(CpuConvolution, ResultsDoNotDependOnTheThreadCount) {
  for (const int64_t channels : {16, 64, 128, 512}) {
    for (const int64_t size : {2, 8, 9}) {
      const int64_t stride = size == 8 ? 2 : 1;
      const ConvolutionShape s{.batch = 7,
                               .height = size,
                               .width = size,
                               .in_channels = channels,
                               .out_channels = 272,
                               .kernel_height = 3,
                               .kernel_width = 3,
                               .stride_height = stride,
                               .stride_width = stride,
                               .padding_height = 1,
                               .padding_width = 1,
                               .bias = true};
      const auto x = RandomNormal(s.input_size(), 1), w = RandomNormal(s.filter_size(), 2),
                 b = RandomNormal(s.out_channels, 3), dy = RandomNormal(s.output_size(), 4);
      std::vector<std::vector<float>> first;
      for (const int threads : {1, 2, 3}) {
        const auto device = MakeCpuDevice(threads);
        TestBuffer<float> input(*device, x), filter(*device, w), bias(*device, b),
            output_gradient(*device, dy), output(*device, s.output_size()),
            input_gradient(*device, s.input_size()), filter_gradient(*device, s.filter_size()),
            bias_gradient(*device, s.out_channels);
        const auto convolution = device->MakeConvolution(s);
        convolution->Forward(input, filter, bias, output);
        convolution->BackwardData(output_gradient, filter, input_gradient);
        convolution->BackwardWeights(input, output_gradient, filter_gradient, bias_gradient);
        std::vector<std::vector<float>> results = {output.Read(), input_gradient.Read(),
                                                   filter_gradient.Read(), bias_gradient.Read()};
        if (first.empty()) first = results;
        EXPECT_EQ(results, first) << threads << " threads, " << channels << " channels of " << size;
      }
    }
  }
}

TYPED_TEST(ConvolutionTest, EmptyBatchGivesZeroFilterGradient) {
  ExpectAgreesWithReference(*this->device_, {.batch = 0,
                                             .height = 4,
                                             .width = 4,
                                             .in_channels = 3,
                                             .out_channels = 8,
                                             .kernel_height = 3,
                                             .kernel_width = 3,
                                             .bias = true});
}

// On the CPU, 3x3 filters take our own kernels and 1x1 ones oneDNN's.
TYPED_TEST(ConvolutionTest, PlansOnlyTheGradientsThatAreUsed) {
  for (const int64_t kernel : {1, 3}) {
    SCOPED_TRACE(kernel);
    ConvolutionShape s{.batch = 4,
                       .height = 9,
                       .width = 9,
                       .in_channels = 32,
                       .out_channels = 64,
                       .kernel_height = kernel,
                       .kernel_width = kernel,
                       .padding_height = kernel / 2,
                       .padding_width = kernel / 2,
                       .bias = true};
    const auto x = RandomNormal(s.input_size(), 1), w = RandomNormal(s.filter_size(), 2),
               b = RandomNormal(s.out_channels, 3), dy = RandomNormal(s.output_size(), 4);
    std::vector<std::vector<float>> all;
    int64_t workspace_of_all = 0;
    for (const auto& [data, weights] :
         {GradientUse{true, true}, {false, true}, {true, false}, {false, false}}) {
      SCOPED_TRACE(::testing::Message() << data << " " << weights);
      s.gradients = {data, weights};
      const auto device = TypeParam::Make();
      TestBuffer<float> input(*device, x), filter(*device, w), bias(*device, b),
          output_gradient(*device, dy), output(*device, s.output_size()),
          input_gradient(*device, s.input_size()), filter_gradient(*device, s.filter_size()),
          bias_gradient(*device, s.out_channels);
      const auto convolution = device->MakeConvolution(s);
      convolution->Forward(input, filter, bias, output);
      const auto run_data = [&] {
        convolution->BackwardData(output_gradient, filter, input_gradient);
      };
      const auto run_weights = [&] {
        convolution->BackwardWeights(input, output_gradient, filter_gradient, bias_gradient);
      };
      if (data) {
        run_data();
      } else {
        EXPECT_STREQ(convolution->algorithm(1), "none");
        EXPECT_THROW(run_data(), Error);
      }
      if (weights) {
        run_weights();
      } else {
        EXPECT_STREQ(convolution->algorithm(2), "none");
        EXPECT_THROW(run_weights(), Error);
      }
      const int64_t workspace = device->workspace().size;
      if (all.empty()) {
        all = {output.Read(), input_gradient.Read(), filter_gradient.Read(), bias_gradient.Read()};
        workspace_of_all = workspace;
        continue;
      }
      EXPECT_LE(workspace, workspace_of_all);
      EXPECT_EQ(output.Read(), all[0]);
      if (data) {
        EXPECT_EQ(input_gradient.Read(), all[1]);
      }
      if (weights) {
        EXPECT_EQ(filter_gradient.Read(), all[2]);
        EXPECT_EQ(bias_gradient.Read(), all[3]);
      }
    }
  }
}

TYPED_TEST(ConvolutionTest, RefusesWhatIsNoConvolution) {
  Device& device = *this->device_;
  const ConvolutionShape good{.batch = 1,
                              .height = 4,
                              .width = 4,
                              .in_channels = 4,
                              .out_channels = 4,
                              .kernel_height = 3,
                              .kernel_width = 3};
  const auto expect_refused = [&](auto change) {
    ConvolutionShape shape = good;
    change(shape);
    EXPECT_THROW(device.MakeConvolution(shape), Error);
  };
  EXPECT_NO_THROW(device.MakeConvolution(good));
  expect_refused([](ConvolutionShape& s) { s.in_channels = 0; });
  expect_refused([](ConvolutionShape& s) { s.stride_width = 0; });
  expect_refused([](ConvolutionShape& s) { s.padding_height = -1; });
  expect_refused([](ConvolutionShape& s) { s.groups = 3; });
  expect_refused([](ConvolutionShape& s) { s.kernel_height = 5; });
}

}  // namespace
}  // namespace thinwire
