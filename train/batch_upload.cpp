#include "train/batch_upload.h"

#include <algorithm>
#include <cstddef>
#include <span>

namespace thinwire {
namespace {

constexpr int64_t kAlignment = 128;

}  // namespace

BatchUpload::BatchUpload(Device& device, const BatchPipeline& pipeline, const MixOptions& mix,
                         int64_t places)
    : device_(device), mix_(mix), seed_(pipeline.options().seed), rank_(pipeline.options().rank) {
  const AugmentationShape& made = pipeline.image_maker().shape();
  image_ = {made.height, made.width, made.channels};
  if (!pipeline.options().deliver_bytes) return;
  const MemoryScope scope(device, MemoryUse::kActivations);
  AugmentationShape shape = pipeline.image_maker().shape();
  shape.batch = pipeline.options().batch_size;
  augmentation_ = device.MakeAugmentation(shape, pipeline.image_maker().table());
  const auto aligned = [](int64_t bytes) {
    return (bytes + kAlignment - 1) / kAlignment * kAlignment;
  };
  augmentations_offset_ = aligned(shape.batch * SizeOf(DataType::kInt32));
  bytes_offset_ =
      augmentations_offset_ + aligned(shape.batch * static_cast<int64_t>(sizeof(Augmentation)));
  const int64_t all = bytes_offset_ + shape.batch * shape.image_size();
  batch_ = device.Allocate(all);
  staged_ = MakeStagedCopy(device, all, places);
}

void BatchUpload::operator()(const Batch& batch, Network& network) {
  if (augmentation_) {
    Start(batch);
    return Finish(network);
  }
  UploadImages(batch, network);
  DrawMixOf(batch);
  Mix(network);
}

void BatchUpload::DrawMixOf(const Batch& batch) {
  if (!mix_.any()) return;
  drawn_mix_ =
      DrawMix(mix_, {.seed = seed_, .epoch = batch.epoch, .index = batch.index, .rank = rank_},
              image_.height, image_.width);
}

void BatchUpload::Mix(Network& network) {
  if (!mix_.any()) return;
  device_.MixImages(drawn_mix_, image_, network.images());
  network.set_own_label(drawn_mix_.own_label);
}

void BatchUpload::UploadImages(const Batch& batch, Network& network) {
  device_.CopyFromHost(batch.labels.data(), network.labels());
  const View images = network.images();
  if (images.type == DataType::kFloat32) {
    return device_.CopyFromHost(batch.images.data(), images);
  }
  const int64_t bytes = images.size * SizeOf(DataType::kFloat32);
  if (float32_.bytes() < bytes) {
    const MemoryScope scope(device_, MemoryUse::kActivations);
    float32_ = device_.Allocate(bytes);
  }
  const View copy = float32_.view().Slice(0, images.size);
  device_.CopyFromHost(batch.images.data(), copy);
  device_.Convert(copy, images);
}

void BatchUpload::Start(const Batch& batch) {
  const std::span<std::byte> memory = staged_->Memory();
  const auto put = [&](auto values, int64_t offset) {
    const auto from = std::as_bytes(values);
    std::copy(from.begin(), from.end(), memory.begin() + offset);
    return std::ssize(from);
  };
  put(batch.labels, 0);
  augmentations_bytes_ = put(batch.augmentations, augmentations_offset_);
  bytes_ = put(batch.bytes, bytes_offset_);
  staged_->Start(bytes_offset_ + bytes_);
  DrawMixOf(batch);
}

void BatchUpload::Finish(Network& network) {
  const View all = batch_.view(DataType::kUint8);
  staged_->Finish(all);
  const View labels = network.labels();
  device_.Copy(ConstView(batch_.view(labels.type).Slice(0, labels.size)), labels);
  augmentation_->Run(all.Slice(bytes_offset_, bytes_),
                     all.Slice(augmentations_offset_, augmentations_bytes_), network.images());
  Mix(network);
}

}  // namespace thinwire
