// Decoding of one image file's bytes to 8-bit RGB. The content decides what it is, not the name.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace thinwire {

enum class ImageFormat : uint8_t { kJpeg, kPng, kBmp, kGif, kPnm };

/// What an image's first bytes promise.
struct ImageHeader {
  ImageFormat format = ImageFormat::kJpeg;
  int64_t width = 0, height = 0;  // as stored, before the Exif orientation
  int orientation = 1;            // Exif's 1 to 8; 1 where there is none
};

/// Columns [left, left + width) of rows [top, top + height).
struct ImageRegion {
  int64_t left = 0, top = 0, width = 0, height = 0;
  bool operator==(const ImageRegion&) const = default;
};

struct DecodeOptions {
  /// Decode at 1/1, 1/2, 1/4 or 1/8 of the size (rounded up), which costs a JPEG less than its
  /// whole; only JPEG can.
  int reduction = 1;
  /// Which part is needed, in pixels of the reduced image; empty: all.
  std::optional<ImageRegion> region = {};
};

/// A part of an image, 8-bit RGB interleaved, [part.height, part.width, 3].
struct DecodedImage {
  int64_t full_width = 0, full_height = 0;  // of the whole image, reduced
  ImageRegion part = {};
  std::vector<uint8_t> pixels = {};
};

/// Limit against files that are small and promise huge images.
inline constexpr int64_t kDefaultMaxPixels = 100'000'000;

/// Reads one image: what it is, then its pixels.
///
/// Grey is replicated; CMYK and YCCK become (255 - ink) * (255 - black) / 255, with inks stored
/// inverted as Adobe does; transparency and colour profiles are ignored, and so is the Exif
/// orientation. Of an animation the first picture is taken. The same pixels come out whatever the
/// region.
class ImageReader {
 public:
  /// Receives the rows of a region in order, each as 8-bit RGB of the region's columns that is gone
  /// after the call.
  using RowSink = std::function<void(const uint8_t* pixels)>;

  virtual ~ImageReader() = default;
  const ImageHeader& header() const { return header_; }
  /// Decodes; once. @param region In pixels of the reduced image, within it.
  /// @throws Error naming the file where data end early or do not decode. What libjpeg only warns
  ///     about is an error if pixels were made up for it.
  virtual void Decode(int reduction, const ImageRegion& region, const RowSink& sink) = 0;

 protected:
  ImageHeader header_;
};

/// @param bytes Outlive the reader.
/// @param name For messages.
/// @throws Error naming the file, if it is no image that is understood, is damaged, or has more
///     than `max_pixels`.
std::unique_ptr<ImageReader> OpenImage(std::span<const uint8_t> bytes, const std::string& name,
                                       int64_t max_pixels = kDefaultMaxPixels);

/// The header alone. @throws Error as OpenImage.
ImageHeader ReadImageHeader(std::span<const uint8_t> bytes, const std::string& name,
                            int64_t max_pixels = kDefaultMaxPixels);

/// Decodes into memory. @throws Error as OpenImage and ImageReader::Decode.
DecodedImage DecodeImage(std::span<const uint8_t> bytes, const std::string& name,
                         const DecodeOptions& options = {}, int64_t max_pixels = kDefaultMaxPixels);

/// How errors about one file are told.
[[noreturn]] void FailDecoding(const std::string& name, const std::string& problem);

}  // namespace thinwire
