// JPEG files to training inputs: decoded, a random part resized to 224x224, flipped, normalised.
// Files are those below the folder that THINWIRE_IMAGES names, read into memory first.
// benchmarks/compare_image_input.py sets it beside Pillow, torchvision and others.
#include <benchmark/benchmark.h>
// jpeglib.h needs size_t and FILE declared first.
#include <cstddef>
#include <cstdio>
// clang-format off
#include <jpeglib.h>
// clang-format on

#include <cstdlib>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "datasets/batch_pipeline.h"
#include "datasets/image_folder.h"
#include "datasets/image_transform.h"
#include "datasets/resample.h"
#include "kernels/error.h"

namespace {

constexpr int64_t kSize = 224;
constexpr thinwire::AugmentationOptions kTraining = {.flip = true, .random_resized_crop = true};

/// Files in memory.
class Files final : public thinwire::EncodedImages {
 public:
  explicit Files(const thinwire::EncodedImages& images) {
    std::vector<uint8_t> buffer;
    for (int64_t i = 0; i < images.count(); ++i) {
      const auto bytes = images.Read(i, buffer);
      files_.emplace_back(bytes.begin(), bytes.end());
      names_.push_back(images.name(i));
    }
  }
  int64_t count() const override { return std::ssize(files_); }
  std::string name(int64_t index) const override { return names_[static_cast<size_t>(index)]; }
  std::span<const uint8_t> Read(int64_t index, std::vector<uint8_t>&) const override {
    return files_[static_cast<size_t>(index)];
  }

 private:
  std::vector<std::vector<uint8_t>> files_;
  std::vector<std::string> names_;
};

/// Empty if there are none.
const thinwire::Dataset& Images() {
  static const thinwire::Dataset dataset = [] {
    const char* folder = std::getenv("THINWIRE_IMAGES");
    if (folder == nullptr) return thinwire::Dataset{};
    thinwire::Dataset images =
        thinwire::LoadImageFolder(folder, {.size = kSize}, thinwire::Split::kTrain);
    images.encoded = std::make_shared<Files>(*images.encoded);
    return images;
  }();
  return dataset;
}

bool HasImages(benchmark::State& state) {
  if (Images().encoded) return true;
  state.SkipWithError("THINWIRE_IMAGES names no folder of images");
  return false;
}

thinwire::ImageTransform MakeTransform(std::optional<bool> scaled_decoding) {
  return {{.size = kSize, .scaled_decoding = scaled_decoding},
          kTraining,
          thinwire::DefaultNormalization("image-folder"),
          0};
}

void CountImages(benchmark::State& state, int64_t images) {
  state.counters["images/s"] =
      benchmark::Counter(static_cast<double>(images), benchmark::Counter::kIsRate);
}

/// All of a JPEG file by libjpeg-turbo with its defaults.
std::vector<uint8_t> DecodeWhole(std::span<const uint8_t> bytes, int64_t* width, int64_t* height) {
  jpeg_decompress_struct jpeg;
  jpeg_error_mgr errors;
  jpeg.err = jpeg_std_error(&errors);
  jpeg_create_decompress(&jpeg);
  jpeg_mem_src(&jpeg, bytes.data(), bytes.size());
  jpeg_read_header(&jpeg, TRUE);
  jpeg.out_color_space = JCS_RGB;
  jpeg_start_decompress(&jpeg);
  *width = jpeg.output_width;
  *height = jpeg.output_height;
  std::vector<uint8_t> pixels(static_cast<size_t>(*width * *height * 3));
  while (jpeg.output_scanline < jpeg.output_height) {
    JSAMPROW row = pixels.data() + int64_t{jpeg.output_scanline} * *width * 3;
    jpeg_read_scanlines(&jpeg, &row, 1);
  }
  jpeg_finish_decompress(&jpeg);
  jpeg_destroy_decompress(&jpeg);
  return pixels;
}

/// The plain way: the whole image is decoded, then a part of it resized.
void WholeImage(benchmark::State& state) {
  if (!HasImages(state)) return;
  const thinwire::EncodedImages& files = *Images().encoded;
  const thinwire::ImageTransform transform = MakeTransform(false);
  std::vector<uint8_t> buffer, scratch, square(kSize * kSize * 3);
  std::vector<float> output(square.size());
  const std::vector<float> table =
      NormalizationTable(thinwire::DefaultNormalization("image-folder"), 3);
  int64_t epoch = 0;
  for (auto _ : state) {
    for (int64_t i = 0; i < files.count(); ++i) {
      int64_t width = 0, height = 0;
      const std::vector<uint8_t> pixels = DecodeWhole(files.Read(i, buffer), &width, &height);
      const thinwire::ImageCrop crop = transform.CropOf(width, height, epoch, i);
      const auto plan = [](int64_t begin, int64_t length) {
        return thinwire::PlanResampling(static_cast<double>(begin),
                                        static_cast<double>(begin + length), kSize, 0, kSize);
      };
      const thinwire::ResampleAxis x = plan(crop.left, crop.width);
      const thinwire::ResampleAxis y = plan(crop.top, crop.height);
      thinwire::Resample(crop.flip ? Mirrored(x) : x, y,
                         pixels.data() + (y.first_input * width + x.first_input) * 3, width * 3,
                         square.data(), scratch);
      for (size_t j = 0; j < output.size(); ++j) output[j] = table[j % 3 * 256 + square[j]];
      benchmark::DoNotOptimize(output.data());
    }
    ++epoch;
  }
  CountImages(state, state.iterations() * files.count());
}

void Transform(benchmark::State& state, std::optional<bool> scaled_decoding) {
  if (!HasImages(state)) return;
  const thinwire::EncodedImages& files = *Images().encoded;
  const thinwire::ImageTransform transform = MakeTransform(scaled_decoding);
  thinwire::ImageTransform::Scratch scratch;
  std::vector<uint8_t> buffer;
  std::vector<float> output(kSize * kSize * 3);
  int64_t epoch = 0;
  for (auto _ : state) {
    for (int64_t i = 0; i < files.count(); ++i) {
      transform.Apply(files.Read(i, buffer), files.name(i), epoch, i, output.data(), scratch);
      benchmark::DoNotOptimize(output.data());
    }
    ++epoch;
  }
  CountImages(state, state.iterations() * files.count());
}

/// Of this process so far, in MiB; 0 where it is not told.
double PeakMemory() {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;) {
    double kibibytes = 0;
    if (word == "VmHWM:" && status >> kibibytes) return kibibytes / 1024;
  }
  return 0;
}

/// Batches of 32, as training takes them.
void Pipeline(benchmark::State& state) {
  if (!HasImages(state)) return;
  constexpr int64_t kBatch = 32;
  thinwire::BatchPipeline pipeline(Images(),
                                   {.batch_size = kBatch,
                                    .augmentation = kTraining,
                                    .normalization = thinwire::DefaultNormalization("image-folder"),
                                    .threads = static_cast<int>(state.range(0))});
  for (int i = 0; i < 4; ++i) pipeline.Next();  // what was made ahead
  int64_t images = 0;
  for (auto _ : state) images += pipeline.Next().rows;
  CountImages(state, images);
  state.counters["peak MiB"] = PeakMemory();
}

BENCHMARK(WholeImage)->Unit(benchmark::kMillisecond)->Name("whole image decoded and resized");
BENCHMARK_CAPTURE(Transform, usual, std::nullopt)->Unit(benchmark::kMillisecond)->Name("transform");
BENCHMARK_CAPTURE(Transform, unscaled, false)
    ->Unit(benchmark::kMillisecond)
    ->Name("transform without scaled decoding");
BENCHMARK(Pipeline)
    ->Arg(1)
    ->Arg(2)
    ->Unit(benchmark::kMillisecond)
    ->UseRealTime()
    ->ArgName("threads")
    ->Name("pipeline");

}  // namespace

BENCHMARK_MAIN();
