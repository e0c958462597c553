#include "train/image_survey.h"

#include <atomic>
#include <cmath>
#include <exception>
#include <mutex>
#include <thread>

#include "kernels/error.h"

namespace thinwire {

ImageSurvey::ImageSurvey(
    int64_t images, int64_t threads,
    const std::function<SurveyedImage(int64_t index, SurveyScratch& scratch)>& read)
    : images_(images) {
  std::atomic<int64_t> next = 0;
  std::mutex mutex;
  std::exception_ptr failure;
  const auto work = [&] {
    SurveyScratch scratch;
    for (int64_t i = next++; i < images; i = next++) {
      try {
        const SurveyedImage image = read(i, scratch);
        const Sums sums = SumPixels(image);
        const std::lock_guard lock(mutex);
        Include(image, sums);
      } catch (const Error& error) {
        const std::lock_guard lock(mutex);
        unreadable_.emplace(i, error.what());
      } catch (...) {
        const std::lock_guard lock(mutex);
        failure = std::current_exception();
        next = images;
      }
    }
  };
  {
    std::vector<std::jthread> pool;
    for (int64_t i = 0; i < threads; ++i) pool.emplace_back(work);
  }
  if (failure) std::rethrow_exception(failure);
}

ImageSurvey::Sums ImageSurvey::SumPixels(const SurveyedImage& image) {
  Sums sums = {};
  const auto channels = static_cast<size_t>(image.channels);
  if (channels > sums.size()) return sums;
  for (size_t c = 0; c < channels; ++c) {
    for (size_t i = c; i < image.pixels.size(); i += channels) {
      const uint64_t value = image.pixels[i];
      sums[c].sum += value;
      sums[c].squares += value * value;
    }
    sums[c].count = image.pixels.size() / channels;
  }
  return sums;
}

void ImageSurvey::Include(const SurveyedImage& image, const Sums& sums) {
  ++formats_[image.format];
  width_.Include(image.width);
  height_.Include(image.height);
  for (size_t c = 0; c < sums.size(); ++c) {
    sums_[c].count += sums[c].count;
    sums_[c].sum += sums[c].sum;
    sums_[c].squares += sums[c].squares;
  }
}

std::vector<double> ImageSurvey::mean() const {
  std::vector<double> values;
  for (const ChannelSums& channel : sums_) {
    if (channel.count == 0) break;
    values.push_back(static_cast<double>(channel.sum) / static_cast<double>(channel.count) / 255);
  }
  return values;
}

std::vector<double> ImageSurvey::deviation() const {
  const std::vector<double> means = mean();
  std::vector<double> values;
  for (size_t c = 0; c < means.size(); ++c) {
    const double square =
        static_cast<double>(sums_[c].squares) / static_cast<double>(sums_[c].count) / (255.0 * 255);
    values.push_back(std::sqrt(std::max(0.0, square - means[c] * means[c])));
  }
  return values;
}

}  // namespace thinwire
