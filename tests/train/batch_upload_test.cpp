#include "train/batch_upload.h"

#include <algorithm>

#include "datasets/image_folder.h"
#include "datasets/shapes.h"
#include "layers/layer_graph.h"
#include "models/models.h"
#include "tests/device_test.h"
#include "tests/train/image_files.h"

namespace thinwire {
namespace {

/// What a network of `batch_size` images reads of each batch of two epochs. `ahead`: each is
/// brought to the device, by way of several places in turn, before the one before has been read.
std::vector<std::vector<float>> Inputs(Device& device, const Dataset& dataset,
                                       PipelineOptions options,
                                       DataType activations = DataType::kFloat32,
                                       bool ahead = false) {
  const LayerGraph graph = BuildModel("resnet20", {});
  ParameterArena arena(device, graph.tensor_specs(), DataType::kFloat32, activations);
  Network network(
      graph, arena,
      {.batch_size = options.batch_size, .training = false, .activations = activations});
  BatchPipeline pipeline(dataset, options);
  BatchUpload upload(device, pipeline, {}, ahead ? 3 : 1);
  std::vector<std::vector<float>> inputs;
  const int64_t count = 2 * pipeline.batches_per_epoch();
  Batch next;
  for (int64_t i = 0; i < count; ++i) {
    const bool started = ahead && i > 0;
    const Batch batch = started ? next : pipeline.Next();
    EXPECT_EQ(batch.bytes.empty(), !options.deliver_bytes || batch.rows == 0);
    EXPECT_EQ(batch.images.empty(), options.deliver_bytes);
    const std::vector<int32_t> expected_labels(batch.labels.begin(), batch.labels.end());
    started ? upload.Finish(network) : upload(batch, network);
    if (ahead && i + 1 < count) {
      next = pipeline.Next();
      upload.Start(next);
    }
    std::vector<float> input(static_cast<size_t>(network.images().size));
    if (activations == DataType::kBFloat16) {
      std::vector<BFloat16> rounded(input.size());
      device.CopyToHost(network.images(), rounded.data());
      std::transform(rounded.begin(), rounded.end(), input.begin(), ToFloat);
    } else {
      device.CopyToHost(network.images(), input.data());
    }
    std::vector<int32_t> labels(static_cast<size_t>(network.labels().size));
    device.CopyToHost(network.labels(), labels.data());
    EXPECT_EQ(labels, expected_labels);
    inputs.push_back(input);
  }
  return inputs;
}

/// Inputs are the same whether batches are images or bytes.
void ExpectTheSameInputs(Device& device, const Dataset& dataset, PipelineOptions options) {
  const auto expected = Inputs(device, dataset, options);
  options.deliver_bytes = true;
  const auto inputs = Inputs(device, dataset, options);
  ASSERT_EQ(inputs.size(), 8u);
  EXPECT_EQ(inputs, expected);
  EXPECT_NE(inputs[0], inputs[4]);  // another epoch
  EXPECT_EQ(Inputs(device, dataset, options, DataType::kFloat32, true), expected);

  std::vector<std::vector<float>> rounded;
  for (const auto& input : expected) rounded.push_back(RoundTo(DataType::kBFloat16, input));
  for (const bool bytes : {false, true}) {
    options.deliver_bytes = bytes;
    EXPECT_EQ(Inputs(device, dataset, options, DataType::kBFloat16), rounded) << bytes;
  }
}

TEST(BatchUpload, BytesBecomeTheSameImagesOnTheDevice) {
  const auto device = MakeTestDevice();
  if (device == nullptr) GTEST_SKIP() << kNoGpu;
  ExpectTheSameInputs(*device, MakeShapes(0, Split::kTrain, 50),
                      {.batch_size = 16,
                       .drop_last = false,  // the last batch has two images
                       .augmentation = {.crop_padding = 4, .flip = true, .cutout = 9},
                       .normalization = DefaultNormalization("shapes"),
                       .seed = 3});
}

TEST(BatchUpload, SoDoThoseOfEncodedImages) {
  const auto device = MakeTestDevice();
  if (device == nullptr) GTEST_SKIP() << kNoGpu;
  const TemporaryFolder folder;
  for (int i = 0; i < 14; ++i) {
    WriteImageFile(folder.path() + (i % 2 == 0 ? "/a/" : "/b/") + std::to_string(i) + ".jpg",
                   MakeJpeg(40 + i, 50, static_cast<uint64_t>(i)));
  }
  ExpectTheSameInputs(*device, LoadImageFolder(folder.path(), {.size = 32}, Split::kTrain),
                      {.batch_size = 4,
                       .drop_last = false,
                       .augmentation = {.flip = true, .random_resized_crop = true},
                       .normalization = DefaultNormalization("image-folder"),
                       .seed = 3});
}

}  // namespace
}  // namespace thinwire
