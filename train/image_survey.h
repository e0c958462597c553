// What the images of a data set turn out to be when all of them are looked at.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <span>
#include <string>
#include <vector>

namespace thinwire {

/// One image that was read.
struct SurveyedImage {
  std::string format;  // "JPEG", "bare pixels"
  int64_t width = 0, height = 0, channels = 0;
  std::span<const uint8_t> pixels;  // [height, width, channels]; valid until the next call
};

/// What one thread uses again and again.
struct SurveyScratch {
  std::vector<uint8_t> file, pixels;
};

/// Of widths or heights.
struct SideRange {
  int64_t least = std::numeric_limits<int64_t>::max(), most = 0;
  void Include(int64_t value) { *this = {std::min(least, value), std::max(most, value)}; }
};

/// All of a part of a data set.
class ImageSurvey {
 public:
  /// Reads all images on so many threads. The result does not depend on their number.
  /// @param read Gives image `index`; @throws Error for one that cannot be read.
  ImageSurvey(int64_t images, int64_t threads,
              const std::function<SurveyedImage(int64_t index, SurveyScratch& scratch)>& read);

  int64_t images() const { return images_; }
  const std::map<std::string, int64_t>& formats() const { return formats_; }
  /// Reasons, by the images' numbers.
  const std::map<int64_t, std::string>& unreadable() const { return unreadable_; }
  /// Whether one was read, which all that follows needs.
  bool any() const { return !formats_.empty(); }
  SideRange width() const { return width_; }
  SideRange height() const { return height_; }
  /// Of pixel / 255, over the pixels of all images that were read: one for each channel.
  std::vector<double> mean() const;
  std::vector<double> deviation() const;

 private:
  /// Exact, so that the order does not matter: 2^64 are enough for 10^14 pixels.
  struct ChannelSums {
    uint64_t count = 0, sum = 0, squares = 0;
  };
  using Sums = std::array<ChannelSums, 4>;
  static Sums SumPixels(const SurveyedImage& image);
  void Include(const SurveyedImage& image, const Sums& sums);

  int64_t images_;
  std::map<std::string, int64_t> formats_;
  std::map<int64_t, std::string> unreadable_;
  SideRange width_, height_;
  Sums sums_ = {};
};

}  // namespace thinwire
