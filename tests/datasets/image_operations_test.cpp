#include "datasets/image_operations.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <set>

#include "datasets/random_operations.h"
#include "tests/datasets/image_testing.h"

namespace thinwire {
namespace {

using Bytes = std::vector<uint8_t>;
constexpr int64_t kSize = 37;

Bytes Apply(ImageOperation operation, double magnitude, Bytes pixels) {
  Bytes scratch;
  const auto size = static_cast<int64_t>(std::sqrt(static_cast<double>(pixels.size()) / 3));
  ApplyOperation(operation, magnitude, size, pixels.data(), scratch);
  return pixels;
}

/// What is expected of channel c of the pixel in a row and column, in float64; Pillow cuts off.
void ExpectPixels(const Bytes& actual,
                  const std::function<double(int64_t row, int64_t column, int64_t c)>& expected,
                  double tolerance) {
  for (int64_t i = 0; i < std::ssize(actual); ++i) {
    const double value = expected(i / 3 / kSize, i / 3 % kSize, i % 3);
    ASSERT_NEAR(actual[static_cast<size_t>(i)], std::clamp(value, 0.0, 255.0), tolerance) << i;
  }
}

class Picture {
 public:
  const Bytes& bytes() const { return bytes_; }
  double at(int64_t row, int64_t column, int64_t c) const {
    if (row < 0 || row >= kSize || column < 0 || column >= kSize) return 0;
    return bytes_[static_cast<size_t>((row * kSize + column) * 3 + c)];
  }
  double grey(int64_t row, int64_t column) const {
    return 0.299 * at(row, column, 0) + 0.587 * at(row, column, 1) + 0.114 * at(row, column, 2);
  }
  double mean_grey() const {
    double sum = 0;
    for (int64_t i = 0; i < kSize * kSize; ++i) sum += grey(i / kSize, i % kSize);
    return sum / (kSize * kSize);
  }

 private:
  Bytes bytes_ = MakePicture(kSize, kSize, 3);
};

TEST(ImageOperations, EnhanceAwayFromAPlainImage) {
  const Picture p;
  const double mean = p.mean_grey();
  for (const double f : {0.0, 0.1, 0.5, 1.0, 1.3, 1.9}) {
    SCOPED_TRACE(f);
    const auto blend = [f](double plain, double value) { return plain + f * (value - plain); };
    ExpectPixels(
        Apply(ImageOperation::kBrightness, f, p.bytes()),
        [&](int64_t y, int64_t x, int64_t c) { return blend(0, p.at(y, x, c)); }, 1);
    // Cut off once, and the plain image was rounded.
    const double tolerance = 1 + 0.5 * std::abs(1 - f) + 0.01;
    ExpectPixels(
        Apply(ImageOperation::kSaturation, f, p.bytes()),
        [&](int64_t y, int64_t x, int64_t c) { return blend(p.grey(y, x), p.at(y, x, c)); },
        tolerance);
    ExpectPixels(
        Apply(ImageOperation::kContrast, f, p.bytes()),
        [&](int64_t y, int64_t x, int64_t c) { return blend(mean, p.at(y, x, c)); },
        tolerance + 0.5);
    ExpectPixels(
        Apply(ImageOperation::kSharpness, f, p.bytes()),
        [&](int64_t y, int64_t x, int64_t c) {
          if (y == 0 || x == 0 || y == kSize - 1 || x == kSize - 1) return p.at(y, x, c);
          double sum = 4 * p.at(y, x, c);
          for (int64_t i = -1; i <= 1; ++i) {
            for (int64_t j = -1; j <= 1; ++j) sum += p.at(y + i, x + j, c);
          }
          return blend(sum / 13, p.at(y, x, c));
        },
        tolerance);
  }
}

TEST(ImageOperations, MovePixels) {
  const Picture p;
  const auto from = [](double position) { return static_cast<int64_t>(std::floor(position)); };
  for (const double m : {-0.3, 0.0, 0.17}) {
    ExpectPixels(
        Apply(ImageOperation::kShearX, m, p.bytes()),
        [&](int64_t y, int64_t x, int64_t c) {
          return p.at(y, from(static_cast<double>(x) + 0.5 - m * (static_cast<double>(y) + 0.5)),
                      c);
        },
        0);
    ExpectPixels(
        Apply(ImageOperation::kShearY, m, p.bytes()),
        [&](int64_t y, int64_t x, int64_t c) {
          return p.at(from(static_cast<double>(y) + 0.5 - m * (static_cast<double>(x) + 0.5)), x,
                      c);
        },
        0);
  }
  for (const int64_t m : {-40, -3, 0, 5}) {
    const auto magnitude = static_cast<double>(m);
    ExpectPixels(
        Apply(ImageOperation::kTranslateX, magnitude, p.bytes()),
        [&](int64_t y, int64_t x, int64_t c) { return p.at(y, x - m, c); }, 0);
    ExpectPixels(
        Apply(ImageOperation::kTranslateY, magnitude, p.bytes()),
        [&](int64_t y, int64_t x, int64_t c) { return p.at(y - m, x, c); }, 0);
  }
  ExpectPixels(
      Apply(ImageOperation::kRotate, 90, p.bytes()),
      [&](int64_t y, int64_t x, int64_t c) { return p.at(x, kSize - 1 - y, c); }, 0);
  ExpectPixels(
      Apply(ImageOperation::kRotate, 180, p.bytes()),
      [&](int64_t y, int64_t x, int64_t c) { return p.at(kSize - 1 - y, kSize - 1 - x, c); }, 0);
  EXPECT_EQ(Apply(ImageOperation::kRotate, 0, p.bytes()), p.bytes());
  EXPECT_EQ(Apply(ImageOperation::kIdentity, 5, p.bytes()), p.bytes());
}

TEST(ImageOperations, MapValues) {
  const Picture p;
  ExpectPixels(
      Apply(ImageOperation::kPosterize, 3, p.bytes()),
      [&](int64_t y, int64_t x, int64_t c) { return std::floor(p.at(y, x, c) / 32) * 32; }, 0);
  EXPECT_EQ(Apply(ImageOperation::kPosterize, 8, p.bytes()), p.bytes());
  ExpectPixels(
      Apply(ImageOperation::kSolarize, 100, p.bytes()),
      [&](int64_t y, int64_t x, int64_t c) {
        const double value = p.at(y, x, c);
        return value < 100 ? value : 255 - value;
      },
      0);
  for (const int64_t c : {0, 1, 2}) {
    double low = 255, high = 0;
    std::map<double, int64_t> histogram;
    for (int64_t i = 0; i < kSize * kSize; ++i) {
      const double value = p.at(i / kSize, i % kSize, c);
      low = std::min(low, value);
      high = std::max(high, value);
      ++histogram[value];
    }
    const Bytes stretched = Apply(ImageOperation::kAutoContrast, 0, p.bytes());
    const Bytes even = Apply(ImageOperation::kEqualize, 0, p.bytes());
    for (int64_t i = c; i < std::ssize(even); i += 3) {
      const double value = p.at(i / 3 / kSize, i / 3 % kSize, c);
      ASSERT_NEAR(stretched[static_cast<size_t>(i)], 255 * (value - low) / (high - low), 1);
      // The share of smaller values, to within a step.
      int64_t smaller = 0;
      for (const auto& [other, count] : histogram) smaller += other < value ? count : 0;
      const int64_t step = (kSize * kSize - histogram.rbegin()->second) / 255;
      ASSERT_EQ(even[static_cast<size_t>(i)], std::min<int64_t>(255, (step / 2 + smaller) / step));
    }
  }
  const Bytes plain(kSize * kSize * 3, 77);
  EXPECT_EQ(Apply(ImageOperation::kAutoContrast, 0, plain), plain);
  EXPECT_EQ(Apply(ImageOperation::kEqualize, 0, plain), plain);
}

TEST(RandomOperations, AreDrawnEvenlyAndRepeatably) {
  const AugmentationOptions options{.randaugment_operations = 2, .randaugment_magnitude = 9};
  std::map<ImageOperation, int> counts;
  constexpr int kImages = 7000;
  std::set<double> shears;
  for (int64_t i = 0; i < kImages; ++i) {
    const auto drawn = DrawOperations(options, 224, 1, i % 3, i);
    ASSERT_EQ(drawn.size(), 2u);
    EXPECT_EQ(drawn, DrawOperations(options, 224, 1, i % 3, i));
    for (const DrawnOperation& operation : drawn) {
      ++counts[operation.operation];
      if (operation.operation == ImageOperation::kShearX) shears.insert(operation.magnitude);
    }
  }
  ASSERT_EQ(counts.size(), 14u);
  for (const auto& [operation, count] : counts) {
    EXPECT_NEAR(count, kImages / 7, 5 * std::sqrt(kImages / 7.0)) << static_cast<int>(operation);
  }
  ASSERT_EQ(shears.size(), 2u);  // both ways
  EXPECT_NEAR(*shears.begin(), -0.09, 1e-12);
  EXPECT_NEAR(*shears.rbegin(), 0.09, 1e-12);
  EXPECT_NE(DrawOperations(options, 224, 1, 0, 0), DrawOperations(options, 224, 2, 0, 0));
  EXPECT_TRUE(DrawOperations({}, 224, 1, 0, 0).empty());
}

TEST(RandomOperations, ColourJitterVariesOrderAndFactors) {
  const AugmentationOptions options{.color_jitter = 0.4};
  std::map<std::vector<ImageOperation>, int> orders;
  double sum = 0;
  constexpr int kImages = 3000;
  for (int64_t i = 0; i < kImages; ++i) {
    std::vector<ImageOperation> order;
    for (const auto& [operation, factor] : DrawOperations(options, 224, 1, 0, i)) {
      order.push_back(operation);
      EXPECT_GE(factor, 0.6 - 1e-6);
      EXPECT_LE(factor, 1.4 + 1e-6);
      sum += factor;
    }
    ++orders[order];
  }
  ASSERT_EQ(orders.size(), 6u);
  for (const auto& [order, count] : orders) {
    EXPECT_EQ(std::set(order.begin(), order.end()),
              (std::set{ImageOperation::kBrightness, ImageOperation::kContrast,
                        ImageOperation::kSaturation}));
    EXPECT_NEAR(count, kImages / 6, 5 * std::sqrt(kImages / 6.0));
  }
  EXPECT_NEAR(sum / (3 * kImages), 1, 5 * 0.4 / std::sqrt(3.0 * 3 * kImages));
}

}  // namespace
}  // namespace thinwire
