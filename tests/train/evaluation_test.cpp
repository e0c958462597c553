#include "train/evaluation.h"

#include <gtest/gtest.h>

#include <vector>

#include "datasets/shapes.h"
#include "layers/initialization.h"
#include "models/models.h"
#include "tests/device_test.h"
#include "train/batch_upload.h"

namespace thinwire {
namespace {

/// The sums that each of `ranks` gets.
std::vector<Evaluation> OnRanks(int ranks, const Dataset& dataset, int64_t batch_size) {
  std::vector<Evaluation> results(static_cast<size_t>(ranks));
  ThreadGroup group(ranks);
  group.Run([&](int rank) {
    const auto device = MakeCpuDevice(1);
    const auto communicator = group.Join(rank, *device);
    const LayerGraph graph = BuildModel("mlp", {.height = 32, .width = 32, .channels = 3});
    ParameterArena arena(*device, graph.tensor_specs());
    InitializeParameters(graph, arena, 1);
    Network network(graph, arena, {.batch_size = batch_size, .training = false});
    results[static_cast<size_t>(rank)] =
        Evaluate(*device, network, dataset,
                 {.batch_size = batch_size, .normalization = DefaultNormalization("shapes")},
                 communicator.get());
  });
  return results;
}

TEST(Evaluation, CountsEachImageOnceOnAnyNumberOfRanks) {
  for (const int64_t count : {1, 5, 13, 16}) {
    const Dataset dataset = MakeShapes(0, Split::kTest, count);
    const Evaluation alone = OnRanks(1, dataset, 16)[0];
    EXPECT_EQ(alone.rows, count);
    for (const int ranks : {1, 2, 3, 4}) {
      for (const int64_t batch_size : {1, 4}) {
        SCOPED_TRACE(::testing::Message()
                     << count << " images, " << ranks << " ranks of " << batch_size);
        for (const Evaluation& sums : OnRanks(ranks, dataset, batch_size)) {
          EXPECT_EQ(sums.rows, count);
          EXPECT_EQ(sums.correct_top1, alone.correct_top1);
          EXPECT_EQ(sums.correct_top5, alone.correct_top5);
          EXPECT_NEAR(sums.loss_sum, alone.loss_sum, 1e-5 * alone.loss_sum);
        }
      }
    }
  }
}

// Of batches that are brought while the device computes the one before, too.
TEST(Evaluation, IsThatOfOneBatchAfterTheOther) {
  const auto device = MakeTestDevice();
  if (device == nullptr) GTEST_SKIP() << kNoGpu;
  const LayerGraph graph = BuildModel("mlp", {.height = 32, .width = 32, .channels = 3});
  ParameterArena arena(*device, graph.tensor_specs());
  InitializeParameters(graph, arena, 1);
  for (const int64_t count : {1, 8, 27}) {
    const Dataset dataset = MakeShapes(0, Split::kTest, count);
    const PipelineOptions options{.batch_size = 4,
                                  .shuffle = false,
                                  .drop_last = false,
                                  .normalization = DefaultNormalization("shapes"),
                                  .deliver_bytes = DeliversBytes(*device)};
    Network network(graph, arena, {.batch_size = 4, .training = false});
    BatchPipeline pipeline(dataset, options);
    BatchUpload upload(*device, pipeline);
    Evaluation expected;
    for (int64_t i = 0; i < pipeline.batches_per_epoch(); ++i) {
      upload(pipeline.Next(), network);
      network.Infer();
      expected.Add(network.ReadLoss());
    }
    EXPECT_EQ(expected.rows, count);
    const Evaluation evaluation = Evaluate(*device, network, dataset, options);
    EXPECT_EQ(evaluation.loss_sum, expected.loss_sum);
    EXPECT_EQ(evaluation.rows, expected.rows);
    EXPECT_EQ(evaluation.correct_top1, expected.correct_top1);
    EXPECT_EQ(evaluation.correct_top5, expected.correct_top5);
  }
}

}  // namespace
}  // namespace thinwire
