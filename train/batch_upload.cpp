#include "train/batch_upload.h"

#include <span>

namespace thinwire {

BatchUpload::BatchUpload(Device& device, const BatchPipeline& pipeline, const MixOptions& mix)
    : device_(device), mix_(mix), seed_(pipeline.options().seed), rank_(pipeline.options().rank) {
  const AugmentationShape& made = pipeline.image_maker().shape();
  image_ = {made.height, made.width, made.channels};
  if (!pipeline.options().deliver_bytes) return;
  const MemoryScope scope(device, MemoryUse::kActivations);
  AugmentationShape shape = pipeline.image_maker().shape();
  shape.batch = pipeline.options().batch_size;
  augmentation_ = device.MakeAugmentation(shape, pipeline.image_maker().table());
  bytes_ = device.Allocate(shape.batch * shape.image_size());
  augmentations_ = device.Allocate(shape.batch * static_cast<int64_t>(sizeof(Augmentation)));
}

void BatchUpload::operator()(const Batch& batch, Network& network) {
  device_.CopyFromHost(batch.labels.data(), network.labels());
  UploadImages(batch, network);
  if (mix_.any()) Mix(batch, network);
}

void BatchUpload::Mix(const Batch& batch, Network& network) {
  const ImageMix mix =
      DrawMix(mix_, {.seed = seed_, .epoch = batch.epoch, .index = batch.index, .rank = rank_},
              image_.height, image_.width);
  device_.MixImages(mix, image_, network.images());
  network.set_own_label(mix.own_label);
}

void BatchUpload::UploadImages(const Batch& batch, Network& network) {
  if (!augmentation_) {
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
    return device_.Convert(copy, images);
  }
  const auto drawn = std::as_bytes(batch.augmentations);
  const View bytes = bytes_.view(DataType::kUint8).Slice(0, std::ssize(batch.bytes));
  const View augmentations = augmentations_.view(DataType::kUint8).Slice(0, std::ssize(drawn));
  device_.CopyFromHost(batch.bytes.data(), bytes);
  device_.CopyFromHost(drawn.data(), augmentations);
  augmentation_->Run(bytes, augmentations, network.images());
}

}  // namespace thinwire
