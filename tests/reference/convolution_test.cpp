// The reference itself, against values worked out by hand.
#include "tests/reference/convolution.h"

#include <gtest/gtest.h>

namespace thinwire::reference {
namespace {

using Values = std::vector<double>;

// A 3x3 image of one channel and a 2x2 filter, no padding.
TEST(ReferenceConvolution, SlidesTheFilterWithoutFlippingIt) {
  const ConvolutionShape shape{.batch = 1,
                               .height = 3,
                               .width = 3,
                               .in_channels = 1,
                               .out_channels = 1,
                               .kernel_height = 2,
                               .kernel_width = 2};
  const std::vector<float> image = {1, 2, 3, 4, 5, 6, 7, 8, 9};
  const std::vector<float> filter = {1, 10, 100, 1000};
  EXPECT_EQ(ConvolutionForward(shape, image, filter, {}), (Values{5421, 6532, 8754, 9865}));
  const std::vector<float> gradient = {1, 2, 3, 4};
  EXPECT_EQ(ConvolutionBackwardData(shape, gradient, filter),
            (Values{1, 12, 20, 103, 1234, 2040, 300, 3400, 4000}));
  const FilterGradients gradients = ConvolutionBackwardWeights(shape, image, gradient);
  EXPECT_EQ(gradients.filter, (Values{37, 47, 67, 77}));
  EXPECT_EQ(gradients.bias, (Values{10}));
}

// Stride 2 over a 3x3 image with padding 1 leaves a 2x2 output of its corners' neighbourhoods.
TEST(ReferenceConvolution, StridesAndPadsWithZeros) {
  const ConvolutionShape shape{.batch = 1,
                               .height = 3,
                               .width = 3,
                               .in_channels = 1,
                               .out_channels = 1,
                               .kernel_height = 3,
                               .kernel_width = 3,
                               .stride_height = 2,
                               .stride_width = 2,
                               .padding_height = 1,
                               .padding_width = 1,
                               .bias = true};
  const std::vector<float> image = {1, 2, 3, 4, 5, 6, 7, 8, 9};
  const std::vector<float> ones(9, 1.0f);
  EXPECT_EQ(ConvolutionForward(shape, image, ones, {0.5f}), (Values{12.5, 16.5, 24.5, 28.5}));
  EXPECT_EQ(ConvolutionBackwardData(shape, {1, 10, 100, 1000}, ones),
            (Values{1, 11, 10, 101, 1111, 1010, 100, 1100, 1000}));
}

// Two channels in and out: KRSC order without groups, separate channels with two groups.
TEST(ReferenceConvolution, MixesChannelsWithinTheirGroup) {
  ConvolutionShape shape{.batch = 2, .height = 1, .width = 1, .in_channels = 2, .out_channels = 2};
  EXPECT_EQ(ConvolutionForward(shape, {1, 2, 3, 4}, {1, 10, 100, 1000}, {}),
            (Values{21, 2100, 43, 4300}));
  shape.groups = 2;
  EXPECT_EQ(ConvolutionForward(shape, {1, 2, 3, 4}, {10, 100}, {}), (Values{10, 200, 30, 400}));
  EXPECT_EQ(ConvolutionBackwardData(shape, {1, 2, 3, 4}, {10, 100}), (Values{10, 200, 30, 400}));
  EXPECT_EQ(ConvolutionBackwardWeights(shape, {1, 2, 3, 4}, {5, 6, 7, 8}).filter, (Values{26, 44}));
}

}  // namespace
}  // namespace thinwire::reference
