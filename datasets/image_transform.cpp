#include "datasets/image_transform.h"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <cmath>
#include <utility>

#include "datasets/random_operations.h"
#include "datasets/resample.h"
#include "kernels/error.h"
#include "kernels/random.h"

namespace thinwire {
namespace {

constexpr uint64_t kCropKey = 0x63726f70733a3a31;  // keeps apart from other uses of a seed
constexpr int64_t kChannels = 3;
constexpr int kAttempts = 10;  // at a random part that fits into the image

[[noreturn]] void FailUsage(const std::string& problem, const std::string& remedy) {
  throw Error(problem, remedy, Error::Kind::kUsage);
}

int64_t Rounded(double value) { return static_cast<int64_t>(std::nearbyint(value)); }

/// How far a JPEG may be reduced so that the part still has as many pixels as it becomes.
int Reduction(const ImageCrop& crop) {
  int reduction = 8;
  while (reduction > 1 && (crop.width < reduction * crop.resized_width ||
                           crop.height < reduction * crop.resized_height)) {
    reduction /= 2;
  }
  return reduction;
}

}  // namespace

/// How the stored image is turned to be shown: first transposed, then mirrored along an axis.
struct ImageTransform::Orientation {
  explicit Orientation(int exif)
      : transposed(exif >= 5),
        rows_mirrored(exif == 3 || exif == 4 || exif == 6 || exif == 7),
        columns_mirrored(exif == 2 || exif == 3 || exif == 7 || exif == 8) {}

  /// The same crop of the stored image.
  ImageCrop Stored(ImageCrop crop, int64_t size, const ImageHeader& header) const {
    if (transposed) {
      std::swap(crop.left, crop.top);
      std::swap(crop.width, crop.height);
      std::swap(crop.resized_width, crop.resized_height);
      std::swap(crop.square_left, crop.square_top);
    }
    if (columns_mirrored) {
      crop.left = header.width - crop.left - crop.width;
      crop.square_left = crop.resized_width - crop.square_left - size;
    }
    if (rows_mirrored) {
      crop.top = header.height - crop.top - crop.height;
      crop.square_top = crop.resized_height - crop.square_top - size;
    }
    return crop;
  }

  bool transposed, rows_mirrored, columns_mirrored;  // the latter of the stored image
};

ImageCrop DrawCrop(int64_t width, int64_t height, int64_t size, const AugmentationOptions& options,
                   uint64_t seed, int64_t epoch, int64_t index) {
  assert(index >= 0 && index < int64_t{1} << 32);
  RandomStream random(seed ^ kCropKey,
                      static_cast<uint64_t>(epoch) << 32 | static_cast<uint64_t>(index));
  const auto uniform = [&](double low, double high) {
    return low + (high - low) * random.Uniform();
  };
  const auto below = [&](int64_t bound) {
    return int64_t{random.Below(static_cast<uint32_t>(bound))};
  };
  const double area = static_cast<double>(width) * static_cast<double>(height);
  const double low_ratio = options.crop_ratio[0], high_ratio = options.crop_ratio[1];
  ImageCrop crop{.resized_width = size, .resized_height = size};
  crop.flip = below(2) == 1 && options.flip;
  for (int i = 0; i < kAttempts; ++i) {
    const double target = area * uniform(options.crop_scale[0], options.crop_scale[1]);
    const double ratio = std::exp(uniform(std::log(low_ratio), std::log(high_ratio)));
    crop.width = Rounded(std::sqrt(target * ratio));
    crop.height = Rounded(std::sqrt(target / ratio));
    if (crop.width < 1 || crop.height < 1 || crop.width > width || crop.height > height) continue;
    crop.top = below(height - crop.height + 1);
    crop.left = below(width - crop.width + 1);
    return crop;
  }
  // The largest part in the middle whose ratio is allowed.
  const double ratio = static_cast<double>(width) / static_cast<double>(height);
  crop.width = width;
  crop.height = height;
  if (ratio < low_ratio) {
    crop.height = std::clamp<int64_t>(Rounded(static_cast<double>(width) / low_ratio), 1, height);
  } else if (ratio > high_ratio) {
    crop.width = std::clamp<int64_t>(Rounded(static_cast<double>(height) * high_ratio), 1, width);
  }
  crop.top = (height - crop.height) / 2;
  crop.left = (width - crop.width) / 2;
  return crop;
}

ImageCrop CentreCrop(int64_t width, int64_t height, int64_t resize, int64_t size) {
  ImageCrop crop{.width = width, .height = height};
  crop.resized_width = width <= height ? resize : resize * width / height;
  crop.resized_height = width <= height ? resize * height / width : resize;
  crop.square_left = Rounded(static_cast<double>(crop.resized_width - size) / 2);
  crop.square_top = Rounded(static_cast<double>(crop.resized_height - size) / 2);
  return crop;
}

ImageTransform::ImageTransform(const ImageOptions& image, const AugmentationOptions& augmentation,
                               const Normalization& normalization, uint64_t seed)
    : image_(image),
      augmentation_(augmentation),
      seed_(seed),
      scaled_decoding_(image.scaled_decoding.value_or(augmentation.random_resized_crop)),
      table_(NormalizationTable(normalization, kChannels)) {
  if (image.size < 1 || image.resize < image.size) {
    FailUsage(fmt::format("img-size is {} and val-resize-size is {}", image.size, image.resize),
              "make val-resize-size at least img-size, which is at least 1");
  }
  const auto check = [](const char* name, const std::array<double, 2>& range, double most) {
    if (range[0] > 0 && range[0] <= range[1] && range[1] <= most) return;
    FailUsage(fmt::format("{} is {},{}", name, range[0], range[1]),
              fmt::format("give two rising numbers above 0 and at most {}", most));
  };
  check("crop-scale", augmentation.crop_scale, 1);
  check("crop-ratio", augmentation.crop_ratio, 100);
  if (augmentation.randaugment_operations < 0 || augmentation.randaugment_magnitude < 0 ||
      augmentation.randaugment_magnitude > kMostMagnitude) {
    FailUsage(fmt::format("randaugment is {},{}", augmentation.randaugment_operations,
                          augmentation.randaugment_magnitude),
              fmt::format("give the number of operations and their strength, 0 to {}, as 2,9",
                          kMostMagnitude));
  }
  if (!(augmentation.color_jitter >= 0 && augmentation.color_jitter <= 1)) {
    FailUsage(fmt::format("color-jitter is {}", augmentation.color_jitter), "choose 0 to 1");
  }
  if (augmentation.crop_padding != 0 || augmentation.cutout != 0) {
    FailUsage("crop-padding and cutout are for images of one size, and these are of many",
              "leave them out");
  }
}

std::unique_ptr<ImageReader> ImageTransform::Open(std::span<const uint8_t> bytes,
                                                  const std::string& name, int* orientation) const {
  std::unique_ptr<ImageReader> reader = OpenImage(bytes, name, image_.max_pixels);
  *orientation = image_.exif_orientation ? reader->header().orientation : 1;
  return reader;
}

ImageCrop ImageTransform::CropOf(int64_t width, int64_t height, int64_t epoch,
                                 int64_t index) const {
  if (!augmentation_.random_resized_crop) {
    return CentreCrop(width, height, image_.resize, image_.size);
  }
  return DrawCrop(width, height, image_.size, augmentation_, seed_, epoch, index);
}

void ImageTransform::DecodeSquare(ImageReader& reader, int exif, const ImageCrop& shown,
                                  uint8_t* output, Scratch& scratch) const {
  const ImageHeader& header = reader.header();
  const Orientation orientation(exif);
  const ImageCrop crop = orientation.Stored(shown, image_.size, header);
  const int reduction =
      scaled_decoding_ && header.format == ImageFormat::kJpeg ? Reduction(crop) : 1;
  const auto plan = [&](int64_t begin, int64_t length, int64_t resized, int64_t first) {
    return PlanResampling(static_cast<double>(begin) / reduction,
                          static_cast<double>(begin + length) / reduction, resized, first,
                          image_.size);
  };
  // The shown square's columns are the stored one's rows if it is transposed.
  const bool flip_columns = orientation.columns_mirrored != (crop.flip && !orientation.transposed);
  const bool flip_rows = orientation.rows_mirrored != (crop.flip && orientation.transposed);
  ResampleAxis x = plan(crop.left, crop.width, crop.resized_width, crop.square_left);
  if (flip_columns) x = Mirrored(std::move(x));
  const ResampleAxis y = plan(crop.top, crop.height, crop.resized_height, crop.square_top);
  const int64_t size = image_.size;
  if (orientation.transposed) scratch.turned.resize(static_cast<size_t>(size * size * kChannels));
  Resampler resampler(x, y, flip_rows, orientation.transposed ? scratch.turned.data() : output,
                      scratch.rows);
  reader.Decode(reduction, {x.first_input, y.first_input, x.inputs(), y.inputs()},
                [&resampler](const uint8_t* pixels) { resampler.Add(pixels); });
  if (!orientation.transposed) return;
  for (int64_t i = 0; i < size * size; ++i) {
    const uint8_t* const pixel = scratch.turned.data() + (i % size * size + i / size) * kChannels;
    std::copy_n(pixel, kChannels, output + i * kChannels);
  }
}

void ImageTransform::Apply(std::span<const uint8_t> bytes, const std::string& name, int64_t epoch,
                           int64_t index, uint8_t* output, Scratch& scratch) const {
  int exif = 1;
  const std::unique_ptr<ImageReader> reader = Open(bytes, name, &exif);
  int64_t width = reader->header().width, height = reader->header().height;
  if (Orientation(exif).transposed) std::swap(width, height);
  DecodeSquare(*reader, exif, CropOf(width, height, epoch, index), output, scratch);
  for (const auto& [operation, magnitude] :
       DrawOperations(augmentation_, image_.size, seed_, epoch, index)) {
    ApplyOperation(operation, magnitude, image_.size, output, scratch.turned);
  }
}

void ImageTransform::Apply(std::span<const uint8_t> bytes, const std::string& name, int64_t epoch,
                           int64_t index, float* output, Scratch& scratch) const {
  scratch.square.resize(static_cast<size_t>(image_.size * image_.size * kChannels));
  Apply(bytes, name, epoch, index, scratch.square.data(), scratch);
  const float* const red = table_.data();
  const float *const green = red + kByteValues, *const blue = green + kByteValues;
  const uint8_t* pixel = scratch.square.data();
  for (int64_t i = 0; i < image_.size * image_.size; ++i, pixel += 3, output += 3) {
    output[0] = red[pixel[0]];
    output[1] = green[pixel[1]];
    output[2] = blue[pixel[2]];
  }
}

std::vector<uint8_t> ImageTransform::Square(std::span<const uint8_t> bytes, const std::string& name,
                                            const ImageCrop& crop) const {
  int exif = 1;
  const std::unique_ptr<ImageReader> reader = Open(bytes, name, &exif);
  Scratch scratch;
  std::vector<uint8_t> pixels(static_cast<size_t>(image_.size * image_.size * kChannels));
  DecodeSquare(*reader, exif, crop, pixels.data(), scratch);
  return pixels;
}

}  // namespace thinwire
