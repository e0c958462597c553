// What reading adds to the decoding of images: from a folder, from its packed copy, and from
// memory, where reading costs nothing, in turns and on one thread.
//   packed_reader FOLDER [ROUNDS]      FOLDER: as --dataset image-folder takes it
// The copy is written beside FOLDER and removed again.
#include <fmt/format.h>
#include <time.h>

#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "datasets/image_cache.h"
#include "datasets/image_folder.h"
#include "datasets/image_transform.h"
#include "datasets/packed_dataset.h"
#include "kernels/error.h"
#include "train/prepare_images.h"
#include "train/timing.h"

namespace thinwire {
namespace {

struct Source {
  const char* name;
  std::shared_ptr<const EncodedImages> images;
  std::vector<double> decoded = {}, read = {};  // seconds of each round
};

double ThreadSeconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

/// Seconds that `work` takes for all images.
template <typename Work>
double Time(const EncodedImages& images, const Work& work) {
  const double start = ThreadSeconds();
  for (int64_t i = 0; i < images.count(); ++i) work(i);
  return ThreadSeconds() - start;
}

void Run(const std::string& folder, int rounds) {
  const std::string file = folder + ".packed-for-benchmark";
  PrepareImageFolder({.dataset = "imagenet", .source = folder, .destination = file, .copy = true});
  const Dataset files = LoadImageFolder(folder, {}, Split::kTrain);
  const Dataset packed = LoadPacked(file, {}, Split::kTrain);
  std::filesystem::remove(file);  // stays as long as it is open
  std::vector<Source> sources = {
      {"memory", std::make_shared<ImageCache>(files.encoded, std::make_shared<CacheBudget>(0))},
      {"packed", packed.encoded},
      {"folder", files.encoded}};
  const ImageTransform transform({}, {.flip = true, .random_resized_crop = true},
                                 DefaultNormalization("image-folder"), 0);
  ImageTransform::Scratch scratch;
  std::vector<uint8_t> buffer;
  std::vector<float> output(224 * 224 * 3);
  for (int round = -1; round < rounds; ++round) {  // the first one warms up, and is not counted
    for (size_t i = 0; i < sources.size(); ++i) {
      Source& source = sources[(i + static_cast<size_t>(round + 1)) % sources.size()];
      const EncodedImages& images = *source.images;
      const double decoded = Time(images, [&](int64_t image) {
        const auto bytes = images.Read(image, buffer);
        transform.Apply(bytes, "", round + 1, image, output.data(), scratch);
      });
      const double read = Time(images, [&](int64_t image) { images.Read(image, buffer); });
      if (round < 0) continue;
      source.decoded.push_back(decoded);
      source.read.push_back(read);
    }
  }
  const auto count = static_cast<double>(files.count);
  const double memory = Median(sources[0].decoded);
  fmt::print("{} images, {} rounds, medians for one image on one thread\n", files.count, rounds);
  for (const Source& source : sources) {
    const double decoded = Median(source.decoded), read = Median(source.read);
    fmt::print(
        "{}: {:7.1f} us read and made an input ({:+.2f} % against memory), {:6.2f} us read "
        "alone ({:.2f} %)\n",
        source.name, 1e6 * decoded / count, 100 * (decoded / memory - 1), 1e6 * read / count,
        100 * read / memory);
  }
}

}  // namespace
}  // namespace thinwire

int main(int count, char** arguments) {
  if (count < 2) {
    fmt::print(stderr, "usage: packed_reader FOLDER [ROUNDS]\n");
    return 2;
  }
  try {
    thinwire::Run(arguments[1], count > 2 ? std::max(1, std::atoi(arguments[2])) : 10);
  } catch (const thinwire::Error& error) {
    fmt::print(stderr, "packed_reader: {}\n", error.what());
    return 1;
  }
  return 0;
}
