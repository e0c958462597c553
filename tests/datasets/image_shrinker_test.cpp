#include "datasets/image_shrinker.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "datasets/jpeg_encoder.h"
#include "tests/datasets/image_testing.h"

namespace thinwire {
namespace {

using Bytes = std::vector<uint8_t>;

/// Where an output's filter has its weight: a triangle as wide as the step, around its middle.
double Weight(int64_t output, int64_t input, double step) {
  const double centre = (static_cast<double>(output) + 0.5) * step;
  return std::max(0.0, 1 - std::abs(static_cast<double>(input) + 0.5 - centre) / step);
}

/// Plain antialiased resizing, [height, width, 3].
std::vector<double> Resized(const Bytes& rgb, int64_t width, int64_t height, int64_t to_width,
                            int64_t to_height) {
  const double x_step = static_cast<double>(width) / static_cast<double>(to_width);
  const double y_step = static_cast<double>(height) / static_cast<double>(to_height);
  std::vector<double> result;
  for (int64_t y = 0; y < to_height; ++y) {
    for (int64_t x = 0; x < to_width; ++x) {
      double sums[3] = {}, weights = 0;
      for (int64_t v = 0; v < height; ++v) {
        for (int64_t u = 0; u < width; ++u) {
          const double weight = Weight(x, u, x_step) * Weight(y, v, y_step);
          if (weight == 0) continue;
          weights += weight;
          for (int64_t c = 0; c < 3; ++c) {
            sums[c] += weight * rgb[static_cast<size_t>((v * width + u) * 3 + c)];
          }
        }
      }
      for (const double sum : sums) result.push_back(sum / weights);
    }
  }
  return result;
}

double MeanDifference(const std::vector<double>& expected, const Bytes& pixels) {
  EXPECT_EQ(expected.size(), pixels.size());
  double sum = 0;
  for (size_t i = 0; i < pixels.size(); ++i) sum += std::abs(expected[i] - pixels[i]);
  return sum / static_cast<double>(pixels.size());
}

TEST(JpegEncoder, WhatIsEncodedIsDecoded) {
  const Bytes rgb = MakePicture(61, 43);
  const std::vector<double> expected(rgb.begin(), rgb.end());
  size_t size = 0;
  for (const int quality : {30, 75, 100}) {
    const Bytes jpeg = CompressJpeg(rgb, 61, 43, quality, 1, "picture");
    EXPECT_GT(jpeg.size(), size);  // better is larger
    size = jpeg.size();
    const DecodedImage image = DecodeImage(jpeg, "picture");
    EXPECT_EQ(image.full_width, 61);
    EXPECT_LT(MeanDifference(expected, image.pixels), quality == 100 ? 4.0 : 12.0) << quality;
  }
  for (int orientation = 1; orientation <= 8; ++orientation) {
    const Bytes jpeg = CompressJpeg(rgb, 61, 43, 90, orientation, "picture");
    EXPECT_EQ(ReadImageHeader(jpeg, "picture").orientation, orientation);
  }
  const Bytes line(3 * 65'501);
  ExpectError([&] { CompressJpeg(line, 65'501, 1, 90, 1, "a line"); }, {"a line", "65500"});
}

TEST(ImageShrinker, ResizesTheLongerSide) {
  // Grey, since JPEG keeps colours at half of the resolution.
  Bytes rgb = MakePicture(75, 52, 3);
  for (size_t i = 0; i < rgb.size(); i += 3) rgb[i + 1] = rgb[i + 2] = rgb[i];
  const Bytes png = EncodePng(rgb, 75, 52);
  for (const int64_t side : {74, 40, 17, 1}) {
    const auto shrunk = ShrinkImage(png, "picture", {.max_side = side, .quality = 100});
    ASSERT_TRUE(shrunk) << side;
    const DecodedImage image = DecodeImage(*shrunk, "picture");
    const auto shorter = std::max<int64_t>(std::lround(52.0 * static_cast<double>(side) / 75), 1);
    EXPECT_EQ(image.full_width, side);
    EXPECT_EQ(image.full_height, shorter);
    // Two roundings of resizing, and JPEG at its best, which rounds coefficients and pixels.
    EXPECT_LT(MeanDifference(Resized(rgb, 75, 52, side, shorter), image.pixels), 1.0) << side;
  }
  for (const int64_t side : {75, 76, 0}) {
    EXPECT_FALSE(ShrinkImage(png, "picture", {.max_side = side})) << side;
  }
  const auto upright = ShrinkImage(EncodePng(rgb, 52, 75), "picture", {.max_side = 30});
  EXPECT_EQ(ReadImageHeader(*upright, "picture").height, 30);
  EXPECT_EQ(ReadImageHeader(*upright, "picture").width, 21);
}

TEST(ImageShrinker, KeepsTheOrientation) {
  const Bytes jpeg = EncodeJpeg(MakePicture(60, 40), 60, 40, {.orientation = 8});
  const ImageHeader header =
      ReadImageHeader(*ShrinkImage(jpeg, "picture", {.max_side = 30}), "picture");
  EXPECT_EQ(header.width, 30);  // as stored
  EXPECT_EQ(header.orientation, 8);
}

TEST(ImageShrinker, LooksAtWholeImagesEvenIfTheyStay) {
  const Bytes jpeg = EncodeJpeg(MakePicture(60, 40), 60, 40);
  for (const int64_t side : {0, 500, 20}) {
    const auto cut = std::span(jpeg).first(jpeg.size() / 2);
    ExpectError([&] { ShrinkImage(cut, "picture", {.max_side = side}); }, {"picture", "end early"});
    ExpectError([&] { ShrinkImage(jpeg, "picture", {.max_side = side, .max_pixels = 2399}); },
                {"picture", "--max-pixels"});
  }
}

}  // namespace
}  // namespace thinwire
