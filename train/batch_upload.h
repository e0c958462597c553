// The way of batches from the host to a network.
#pragma once

#include <memory>

#include "datasets/batch_pipeline.h"
#include "datasets/draw_mix.h"
#include "kernels/device.h"
#include "kernels/staged_copy.h"
#include "layers/network.h"

namespace thinwire {

/// What a pipeline is to deliver for a device: bytes where all has to be copied to it.
inline bool DeliversBytes(const Device& device) { return !device.host_visible(); }

/// Puts batches into a network's inputs, and augments them there if they are bytes. The inputs are
/// the same, bit for bit, either way. Those of a network in bfloat16 are rounded once, and once
/// more if they are mixed.
class BatchUpload {
 public:
  /// For the batches of one pipeline. Those that are mixed have to be full ones. @param places of
  /// batches that are on their way (StagedCopy).
  BatchUpload(Device& device, const BatchPipeline& pipeline, const MixOptions& mix = {},
              int64_t places = 1);

  void operator()(const Batch& batch, Network& network);

  /// Whether a batch can be brought to the device before a network is to have it.
  bool can_start_early() const { return staged_ != nullptr && !device_.host_visible(); }
  /// Starts to copy a batch, beside what the device computes. It may go on return.
  void Start(const Batch& batch);
  /// Puts the batch that was started last into a network's inputs.
  void Finish(Network& network);

 private:
  void UploadImages(const Batch& batch, Network& network);
  void DrawMixOf(const Batch& batch);
  /// Mixes the images of the batch that was drawn for last.
  void Mix(Network& network);

  Device& device_;
  const MixOptions mix_;
  const uint64_t seed_;
  const int64_t rank_;
  ImageMixShape image_;
  ImageMix drawn_mix_;  // for the batch that is put into the network next
  std::unique_ptr<ImageAugmentation> augmentation_;  // null: batches are images
  // A batch in one piece: labels, augmentations, bytes; the parts begin where all batches' do.
  std::unique_ptr<StagedCopy> staged_;
  Buffer batch_;
  int64_t augmentations_bytes_ = 0, bytes_ = 0;  // of the batch
  int64_t augmentations_offset_ = 0, bytes_offset_ = 0;
  Buffer float32_;  // images that the host has augmented, for a network in bfloat16
};

}  // namespace thinwire
