// The way of batches from the host to a network.
#pragma once

#include <memory>

#include "datasets/batch_pipeline.h"
#include "datasets/draw_mix.h"
#include "kernels/device.h"
#include "layers/network.h"

namespace thinwire {

/// What a pipeline is to deliver for a device: bytes where all has to be copied to it.
inline bool DeliversBytes(const Device& device) { return !device.host_visible(); }

/// Puts batches into a network's inputs, and augments them there if they are bytes. The inputs are
/// the same, bit for bit, either way. Those of a network in bfloat16 are rounded once, and once more
/// if they are mixed.
class BatchUpload {
 public:
  /// For the batches of one pipeline. Those that are mixed have to be full ones.
  BatchUpload(Device& device, const BatchPipeline& pipeline, const MixOptions& mix = {});

  void operator()(const Batch& batch, Network& network);

 private:
  void UploadImages(const Batch& batch, Network& network);
  void Mix(const Batch& batch, Network& network);

  Device& device_;
  const MixOptions mix_;
  const uint64_t seed_;
  const int64_t rank_;
  ImageMixShape image_;
  std::unique_ptr<ImageAugmentation> augmentation_;  // null: batches are images
  Buffer bytes_, augmentations_;
  Buffer float32_;  // images that the host has augmented, for a network in bfloat16
};

}  // namespace thinwire
