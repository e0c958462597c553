// Images a second that one thread can prepare for training, on CIFAR's 32x32x3 images.
#include <benchmark/benchmark.h>

#include <cstdint>
#include <vector>

#include "datasets/augment.h"
#include "datasets/batch_pipeline.h"
#include "datasets/shapes.h"

namespace thinwire {
namespace {

constexpr int64_t kBatch = 128;
constexpr AugmentationOptions kAll = {.crop_padding = 4, .flip = true, .cutout = 16};

/// Crop, flip, cutout and normalisation of a batch, without the pipeline around it. Ten thousand
/// images and eight batches take turns, so that they do not all stay in the cache.
void BM_Augment(benchmark::State& state, const AugmentationOptions& options) {
  const Dataset dataset = MakeShapes(0, Split::kTrain, 10'000);
  const Augmenter augmenter(dataset.height, dataset.width, dataset.channels,
                            DefaultNormalization("shapes"), options, 0);
  constexpr int64_t kBatches = 8;
  std::vector<float> output(static_cast<size_t>(kBatches * kBatch * augmenter.image_size()));
  int64_t row = 0;
  for (auto _ : state) {
    for (int64_t i = 0; i < kBatch; ++i, ++row) {
      const int64_t image = row * 7919 % dataset.count;
      augmenter.Apply(augmenter.Draw(0, image), dataset.image(image),
                      output.data() + row % (kBatches * kBatch) * augmenter.image_size());
    }
    benchmark::ClobberMemory();
  }
  state.SetItemsProcessed(state.iterations() * kBatch);
}
BENCHMARK_CAPTURE(BM_Augment, crop_flip_cutout, kAll);
BENCHMARK_CAPTURE(BM_Augment, crop_flip, {.crop_padding = 4, .flip = true});
BENCHMARK_CAPTURE(BM_Augment, normalize, {});

/// The whole pipeline with one worker thread, as the training loop sees it.
void BM_Pipeline(benchmark::State& state) {
  const Dataset dataset = MakeShapes(0, Split::kTrain, 10'000);
  BatchPipeline pipeline(dataset, {.batch_size = kBatch,
                                   .augmentation = kAll,
                                   .normalization = DefaultNormalization("shapes"),
                                   .threads = 1});
  for (auto _ : state) benchmark::DoNotOptimize(pipeline.Next());
  state.SetItemsProcessed(state.iterations() * kBatch);
}
BENCHMARK(BM_Pipeline)->UseRealTime();

void BM_DrawShapes(benchmark::State& state) {
  for (auto _ : state) benchmark::DoNotOptimize(MakeShapes(0, Split::kTrain, kBatch));
  state.SetItemsProcessed(state.iterations() * kBatch);
}
BENCHMARK(BM_DrawShapes);

}  // namespace
}  // namespace thinwire

BENCHMARK_MAIN();
