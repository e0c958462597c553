#include "datasets/resample.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "kernels/random.h"
#include "tests/datasets/image_testing.h"
#include "tests/reference/resample.h"

namespace thinwire {
namespace {

/// Rounding to a byte twice, and the weights' own.
constexpr double kTolerance = 1.01;

struct Case {
  int64_t width, height;             // of the image
  int64_t left, top, right, bottom;  // the crop
  int64_t to_width, to_height;
};

void ExpectTheReference(const Case& c, uint64_t seed) {
  const std::vector<uint8_t> image = MakePicture(c.width, c.height, seed);
  const std::vector<double> expected = reference::Resample(image, c.width, c.left, c.top, c.right,
                                                           c.bottom, c.to_width, c.to_height);
  const auto plan = [](int64_t begin, int64_t end, int64_t size) {
    return PlanResampling(static_cast<double>(begin), static_cast<double>(end), size, 0, size);
  };
  const ResampleAxis x = plan(c.left, c.right, c.to_width);
  const ResampleAxis y = plan(c.top, c.bottom, c.to_height);
  ASSERT_GE(x.first_input, c.left);
  ASSERT_LE(x.last_input, c.right);
  ASSERT_GE(y.first_input, c.top);
  ASSERT_LE(y.last_input, c.bottom);
  constexpr uint8_t kSentinel = 0xA5;
  std::vector<uint8_t> output(expected.size() + 1, kSentinel), scratch;
  const int64_t start = (y.first_input * c.width + x.first_input) * 3;
  Resample(x, y, image.data() + start, c.width * 3, output.data(), scratch);
  EXPECT_EQ(output.back(), kSentinel);
  for (size_t i = 0; i < expected.size(); ++i) {
    ASSERT_NEAR(output[i], expected[i], kTolerance)
        << i << ": " << c.width << "x" << c.height << " to " << c.to_width << "x" << c.to_height;
  }
}

TEST(Resample, AgreesWithTheReference) {
  RandomStream random(5, 0);
  const auto between = [&](int64_t low, int64_t high) {
    return low + int64_t{random.Below(static_cast<uint32_t>(high - low + 1))};
  };
  for (uint64_t i = 0; i < 200; ++i) {
    Case c{};
    c.width = between(1, 90);
    c.height = between(1, 90);
    c.left = between(0, c.width - 1);
    c.right = between(c.left + 1, c.width);
    c.top = between(0, c.height - 1);
    c.bottom = between(c.top + 1, c.height);
    c.to_width = between(1, 40);
    c.to_height = between(1, 40);
    ExpectTheReference(c, i);
  }
  ExpectTheReference({500, 375, 0, 0, 500, 375, 32, 32}, 1);
  ExpectTheReference({1000, 1, 0, 0, 1000, 1, 7, 5}, 2);
  ExpectTheReference({1, 1, 0, 0, 1, 1, 30, 30}, 3);
}

TEST(Resample, TheSameSizeChangesNothing) {
  const std::vector<uint8_t> image = MakePicture(31, 17);
  const ResampleAxis x = PlanResampling(0, 31, 31, 0, 31), y = PlanResampling(0, 17, 17, 0, 17);
  std::vector<uint8_t> output(image.size()), scratch;
  Resample(x, y, image.data(), 31 * 3, output.data(), scratch);
  EXPECT_EQ(output, image);
}

TEST(Resample, ConstantsStay) {
  for (const uint8_t value : {0, 1, 127, 254, 255}) {
    const std::vector<uint8_t> image(50 * 3, value);
    for (const int64_t size : {1, 3, 7, 49, 50, 51, 200}) {
      const ResampleAxis x = PlanResampling(0, 50, size, 0, size),
                         y = PlanResampling(0, 1, 1, 0, 1);
      std::vector<uint8_t> output(static_cast<size_t>(size * 3)), scratch;
      Resample(x, y, image.data(), 150, output.data(), scratch);
      EXPECT_EQ(output, std::vector<uint8_t>(output.size(), value)) << size;
    }
  }
}

TEST(Resample, ARangeOfOutputsIsThatOfTheWhole) {
  const std::vector<uint8_t> image = MakePicture(100, 80);
  const auto run = [&](const ResampleAxis& x, const ResampleAxis& y) {
    std::vector<uint8_t> output(static_cast<size_t>(x.outputs() * y.outputs() * 3)), scratch;
    const int64_t start = (y.first_input * 100 + x.first_input) * 3;
    Resample(x, y, image.data() + start, 300, output.data(), scratch);
    return output;
  };
  const auto whole = run(PlanResampling(0, 100, 37, 0, 37), PlanResampling(0, 80, 29, 0, 29));
  for (const auto& [left, width, top, height] :
       {std::array<int64_t, 4>{0, 37, 0, 29}, {5, 20, 3, 20}, {36, 1, 28, 1}, {0, 1, 0, 1}}) {
    const ResampleAxis x = PlanResampling(0, 100, 37, left, width);
    const ResampleAxis y = PlanResampling(0, 80, 29, top, height);
    EXPECT_LE(x.last_input - x.first_input, 100 * (width + 2) / 37 + 3);
    const auto part = run(x, y);
    for (int64_t row = 0; row < height; ++row) {
      EXPECT_TRUE(std::equal(part.begin() + row * width * 3, part.begin() + (row + 1) * width * 3,
                             whole.begin() + ((top + row) * 37 + left) * 3));
    }
  }
}

TEST(Resample, AFractionOfAnInputAtTheEdge) {
  // 1.5 to 3.5 as one output: centre 2.5, reach 2; inputs 1 to 3 are in the stretch.
  const ResampleAxis axis = PlanResampling(1.5, 3.5, 1, 0, 1);
  EXPECT_EQ(axis.first_input, 1);
  EXPECT_EQ(axis.last_input, 4);
  ASSERT_EQ(axis.taps, 3);
  const double unit = (1 << 22) / 2.0;  // weights 1/2, 1, 1/2 over their sum
  EXPECT_NEAR(axis.weights[0], 0.5 * unit, 1);
  EXPECT_NEAR(axis.weights[1], unit, 1);
  EXPECT_NEAR(axis.weights[2], 0.5 * unit, 1);
}

}  // namespace
}  // namespace thinwire
