#include "datasets/image_transform.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "datasets/random_operations.h"
#include "tests/datasets/image_testing.h"
#include "tests/reference/resample.h"

namespace thinwire {
namespace {

using Bytes = std::vector<uint8_t>;

constexpr AugmentationOptions kTraining = {.flip = true, .random_resized_crop = true};
const Normalization kUsual = DefaultNormalization("image-folder");

/// The image as it is shown, from the stored one and its Exif orientation: rotations clockwise by
/// hand, [height, width, 3].
Bytes Shown(const Bytes& stored, int64_t width, int64_t height, int orientation) {
  const bool sideways = orientation >= 5;
  const int64_t shown_width = sideways ? height : width, shown_height = sideways ? width : height;
  Bytes shown(stored.size());
  for (int64_t row = 0; row < height; ++row) {
    for (int64_t column = 0; column < width; ++column) {
      // Where the stored row and column go, from the table of the Exif standard: what the stored
      // top row and left column are when shown.
      int64_t y = 0, x = 0;
      switch (orientation) {
        case 1:
          y = row, x = column;
          break;  // top, left
        case 2:
          y = row, x = width - 1 - column;
          break;  // top, right
        case 3:
          y = height - 1 - row, x = width - 1 - column;
          break;  // bottom, right
        case 4:
          y = height - 1 - row, x = column;
          break;  // bottom, left
        case 5:
          y = column, x = row;
          break;  // left, top
        case 6:
          y = column, x = height - 1 - row;
          break;  // right, top
        case 7:
          y = width - 1 - column, x = height - 1 - row;
          break;  // right, bottom
        default:
          y = width - 1 - column, x = row;
          break;  // left, bottom
      }
      EXPECT_TRUE(y < shown_height && x < shown_width);
      std::copy_n(stored.begin() + (row * width + column) * 3, 3,
                  shown.begin() + (y * shown_width + x) * 3);
    }
  }
  return shown;
}

void ExpectCrop(const Bytes& shown, int64_t width, const ImageCrop& crop, int64_t size,
                const Bytes& actual, double tolerance) {
  const std::vector<double> whole =
      reference::Resample(shown, width, crop.left, crop.top, crop.left + crop.width,
                          crop.top + crop.height, crop.resized_width, crop.resized_height);
  ASSERT_EQ(std::ssize(actual), size * size * 3);
  for (int64_t y = 0; y < size; ++y) {
    for (int64_t x = 0; x < size; ++x) {
      const int64_t from = crop.flip ? size - 1 - x : x;
      for (int64_t c = 0; c < 3; ++c) {
        const int64_t at =
            ((crop.square_top + y) * crop.resized_width + crop.square_left + from) * 3 + c;
        ASSERT_NEAR(actual[static_cast<size_t>((y * size + x) * 3 + c)],
                    whole[static_cast<size_t>(at)], tolerance)
            << "row " << y << ", column " << x;
      }
    }
  }
}

TEST(ImageTransform, CentreCropIsTorchvisions) {
  EXPECT_EQ(CentreCrop(500, 375, 256, 224),
            (ImageCrop{0, 0, 500, 375, 341, 256, 58, 16, false}));  // 58.5 rounds to even
  EXPECT_EQ(CentreCrop(375, 500, 256, 224), (ImageCrop{0, 0, 375, 500, 256, 341, 16, 58, false}));
  EXPECT_EQ(CentreCrop(100, 100, 256, 224), (ImageCrop{0, 0, 100, 100, 256, 256, 16, 16, false}));
  EXPECT_EQ(CentreCrop(1, 4, 8, 8), (ImageCrop{0, 0, 1, 4, 8, 32, 0, 12, false}));
}

TEST(ImageTransform, RandomCropsHaveTheWantedAreasAndRatios) {
  constexpr int kCount = 4000;
  const int64_t width = 500, height = 375;
  double area_sum = 0, log_ratio_sum = 0;
  int flips = 0;
  for (int64_t i = 0; i < kCount; ++i) {
    const ImageCrop crop = DrawCrop(width, height, 224, kTraining, 3, i % 7, i);
    EXPECT_EQ(crop, DrawCrop(width, height, 224, kTraining, 3, i % 7, i));
    ASSERT_GE(crop.left, 0);
    ASSERT_GE(crop.top, 0);
    ASSERT_LE(crop.left + crop.width, width);
    ASSERT_LE(crop.top + crop.height, height);
    EXPECT_EQ(crop.resized_width, 224);
    EXPECT_EQ(crop.resized_height, 224);
    const double ratio = static_cast<double>(crop.width) / static_cast<double>(crop.height);
    const double area = static_cast<double>(crop.width * crop.height) / (width * height);
    EXPECT_GT(ratio, 0.74);
    EXPECT_LT(ratio, 1.35);
    EXPECT_GT(area, 0.078);
    area_sum += area;
    log_ratio_sum += std::log(ratio);
    flips += crop.flip;
  }
  // What does not fit is drawn again, so areas are uniform in [0.08, 3/4 ratio] only: their mean
  // and that of the ratio's logarithm are integrals over this region. Five deviations of a mean
  // each.
  EXPECT_NEAR(area_sum / kCount, 0.4319, 0.017);
  EXPECT_NEAR(log_ratio_sum / kCount, 0.0307, 0.013);
  EXPECT_NEAR(flips, kCount / 2, 5 * std::sqrt(kCount) / 2);
  EXPECT_NE(DrawCrop(500, 375, 224, kTraining, 3, 0, 0),
            DrawCrop(500, 375, 224, kTraining, 3, 0, 1));
  EXPECT_NE(DrawCrop(500, 375, 224, kTraining, 3, 0, 0),
            DrawCrop(500, 375, 224, kTraining, 3, 1, 0));
  EXPECT_NE(DrawCrop(500, 375, 224, kTraining, 3, 0, 0),
            DrawCrop(500, 375, 224, kTraining, 4, 0, 0));
}

TEST(ImageTransform, RandomCropsOfUnusualImages) {
  for (const auto& [width, height] :
       {std::pair<int64_t, int64_t>(1, 1), {1, 1000}, {1000, 1}, {2, 3}, {5000, 40}}) {
    for (int64_t i = 0; i < 50; ++i) {
      const ImageCrop crop = DrawCrop(width, height, 224, kTraining, 1, 0, i);
      EXPECT_GE(crop.width, 1);
      EXPECT_GE(crop.height, 1);
      EXPECT_GE(crop.left, 0);
      EXPECT_GE(crop.top, 0);
      EXPECT_LE(crop.left + crop.width, width);
      EXPECT_LE(crop.top + crop.height, height);
    }
  }
  // None of ten tries fits: the middle, of the nearest ratio.
  EXPECT_EQ(DrawCrop(1000, 1, 224, {.random_resized_crop = true}, 1, 0, 0),
            (ImageCrop{499, 0, 1, 1, 224, 224, 0, 0, false}));
}

TEST(ImageTransform, EvaluationIsTheReferencesResize) {
  for (const auto& [width, height] :
       {std::pair<int64_t, int64_t>(97, 61), {40, 90}, {20, 20}, {64, 48}, {1, 9}}) {
    const Bytes rgb = MakePicture(width, height);
    const ImageTransform transform({.size = 28, .resize = 32}, {}, kUsual, 0);
    const ImageCrop crop = transform.CropOf(width, height, 3, 4);
    EXPECT_EQ(crop, CentreCrop(width, height, 32, 28));
    ExpectCrop(rgb, width, crop, 28, transform.Square(EncodePng(rgb, width, height), "a", crop),
               1.01);
    const Bytes jpeg = EncodeJpeg(rgb, width, height);
    ExpectCrop(DecodeImage(jpeg, "a").pixels, width, crop, 28, transform.Square(jpeg, "a", crop),
               1.01);
  }
}

TEST(ImageTransform, OrientedImagesAreCroppedAsTheyAreShown) {
  const int64_t width = 90, height = 62, size = 20;
  const ImageOptions options{.size = size, .resize = 24, .exif_orientation = true};
  const ImageTransform training(
      {.size = size, .resize = 24, .exif_orientation = true, .scaled_decoding = false}, kTraining,
      kUsual, 5);
  const ImageTransform evaluation(options, {}, kUsual, 5);
  for (int orientation = 1; orientation <= 8; ++orientation) {
    const Bytes jpeg =
        EncodeJpeg(MakePicture(width, height), width, height, {.orientation = orientation});
    const Bytes shown = Shown(DecodeImage(jpeg, "a").pixels, width, height, orientation);
    const int64_t shown_width = orientation >= 5 ? height : width;
    const int64_t shown_height = orientation >= 5 ? width : height;
    for (int64_t i = 0; i < 12; ++i) {
      const ImageTransform& transform = i == 0 ? evaluation : training;
      const ImageCrop crop = transform.CropOf(shown_width, shown_height, 0, i);
      ExpectCrop(shown, shown_width, crop, size, transform.Square(jpeg, "a", crop), 1.01);
    }
    // Ignored unless asked for, as torchvision does.
    const ImageTransform usual({.size = size, .resize = 24}, {}, kUsual, 5);
    const ImageCrop crop = usual.CropOf(width, height, 0, 0);
    ExpectCrop(DecodeImage(jpeg, "a").pixels, width, crop, size, usual.Square(jpeg, "a", crop),
               1.01);
  }
}

TEST(ImageTransform, ScaledDecodingStaysNearTheWhole) {
  const int64_t width = 800, height = 600;
  const Bytes jpeg = EncodeJpeg(MakePicture(width, height), width, height);
  const ImageTransform scaled({.size = 64, .resize = 72}, kTraining, kUsual, 5);
  const ImageTransform whole({.size = 64, .resize = 72, .scaled_decoding = false}, kTraining,
                             kUsual, 5);
  int differ = 0;
  for (int64_t i = 0; i < 20; ++i) {
    const ImageCrop crop = scaled.CropOf(width, height, 0, i);
    ASSERT_EQ(crop, whole.CropOf(width, height, 0, i));
    const Bytes a = scaled.Square(jpeg, "a", crop), b = whole.Square(jpeg, "a", crop);
    double sum = 0;
    for (size_t j = 0; j < a.size(); ++j) sum += std::abs(a[j] - b[j]);
    EXPECT_LT(sum / static_cast<double>(a.size()), 4);  // a few grey levels
    differ += a != b;
  }
  EXPECT_GE(differ, 15);  // it is in use
  // Evaluation does not, unless told to.
  const ImageTransform evaluation({.size = 64, .resize = 72}, {}, kUsual, 5);
  const ImageTransform exact({.size = 64, .resize = 72, .scaled_decoding = false}, {}, kUsual, 5);
  const ImageTransform fast({.size = 64, .resize = 72, .scaled_decoding = true}, {}, kUsual, 5);
  const ImageCrop crop = CentreCrop(width, height, 72, 64);
  EXPECT_EQ(evaluation.Square(jpeg, "a", crop), exact.Square(jpeg, "a", crop));
  EXPECT_NE(evaluation.Square(jpeg, "a", crop), fast.Square(jpeg, "a", crop));
}

TEST(ImageTransform, ApplyNormalisesTheSquare) {
  const Bytes jpeg = EncodeJpeg(MakePicture(70, 50), 70, 50);
  const ImageTransform transform({.size = 16, .resize = 16}, kTraining, kUsual, 9);
  ImageTransform::Scratch scratch;
  for (int64_t index = 0; index < 10; ++index) {
    std::vector<float> output(16 * 16 * 3), again(output.size());
    transform.Apply(jpeg, "a", 2, index, output.data(), scratch);
    transform.Apply(jpeg, "a", 2, index, again.data(), scratch);
    EXPECT_EQ(output, again);
    const Bytes square = transform.Square(jpeg, "a", transform.CropOf(70, 50, 2, index));
    for (size_t i = 0; i < output.size(); ++i) {
      const double expected = (square[i] / 255.0 - kUsual.mean[i % 3]) / kUsual.deviation[i % 3];
      ASSERT_NEAR(output[i], expected, 1e-6);
    }
  }
}

TEST(ImageTransform, ApplyDrawsOperations) {
  const Bytes jpeg = EncodeJpeg(MakePicture(70, 50), 70, 50);
  AugmentationOptions options = kTraining;
  options.randaugment_operations = 2;
  options.color_jitter = 0.4;
  const ImageTransform transform({.size = 16, .resize = 16}, options, kUsual, 9);
  ImageTransform::Scratch scratch;
  int differ = 0;
  for (int64_t index = 0; index < 30; ++index) {
    Bytes output(16 * 16 * 3);
    transform.Apply(jpeg, "a", 2, index, output.data(), scratch);
    Bytes expected = transform.Square(jpeg, "a", transform.CropOf(70, 50, 2, index));
    differ += output != expected;
    for (const auto& [operation, magnitude] : DrawOperations(options, 16, 9, 2, index)) {
      ApplyOperation(operation, magnitude, 16, expected.data(), scratch.turned);
    }
    EXPECT_EQ(output, expected);
  }
  EXPECT_EQ(differ, 30);
}

TEST(ImageTransform, RefusesOptionsThatMakeNoSense) {
  const auto refused = [](const std::string& part, const ImageOptions& image,
                          const AugmentationOptions& augmentation) {
    ExpectError([&] { ImageTransform(image, augmentation, kUsual, 0); }, {part},
                Error::Kind::kUsage);
  };
  refused("img-size is 0", {.size = 0}, {});
  refused("val-resize-size is 100", {.size = 101, .resize = 100}, {});
  refused("crop-scale", {}, {.crop_scale = {0, 1}});
  refused("crop-scale", {}, {.crop_scale = {0.5, 0.4}});
  refused("crop-scale", {}, {.crop_scale = {0.5, 1.5}});
  refused("crop-ratio", {}, {.crop_ratio = {2, 1}});
  refused("randaugment", {}, {.randaugment_operations = -1});
  refused("randaugment", {}, {.randaugment_operations = 2, .randaugment_magnitude = 31});
  refused("color-jitter", {}, {.color_jitter = 1.5});
  refused("crop-padding", {}, {.crop_padding = 4});
  refused("cutout", {}, {.cutout = 4});
}

}  // namespace
}  // namespace thinwire
