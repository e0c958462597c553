#include "datasets/batch_pipeline.h"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <new>
#include <numeric>
#include <optional>
#include <stop_token>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "datasets/image_transform.h"
#include "kernels/error.h"
#include "kernels/random.h"

namespace thinwire {
namespace {

constexpr uint64_t kOrderKey = 0x6f726465723a3a31;  // keeps apart from other uses of a seed
constexpr int32_t kPaddingLabel = -1;

void CheckRange(const char* what, int64_t value, int64_t low, int64_t high) {
  if (value >= low && value <= high) return;
  throw Error(fmt::format("cannot make batches: the {} is {}", what, value),
              fmt::format("choose {} to {}", low, high), Error::Kind::kUsage);
}

/// Checked before anything is allocated. @returns the number of batches in an epoch.
int64_t CheckOptions(const Dataset& dataset, const PipelineOptions& options) {
  assert(dataset.encoded ? dataset.encoded->count() == dataset.count
                         : std::ssize(dataset.images) == dataset.count * dataset.image_bytes());
  assert(std::ssize(dataset.labels) == dataset.count);
  CheckRange("number of images in the data set", dataset.count, 1, (int64_t{1} << 32) - 1);
  CheckRange("batch size", options.batch_size, 1, int64_t{1} << 24);
  CheckRange("number of ranks", options.ranks, 1, int64_t{1} << 20);
  CheckRange("rank", options.rank, 0, options.ranks - 1);
  CheckRange("number of data threads", options.threads, 1, 1024);
  CheckRange("number of batches ready ahead", options.prefetch, 1, 1024);
  const int64_t global_batch = options.batch_size * options.ranks;
  if (options.drop_last && dataset.count < global_batch) {
    throw Error(fmt::format("cannot make batches: the data set {} has {} images, fewer than one "
                            "batch of {} on each of {} ranks",
                            dataset.name, dataset.count, options.batch_size, options.ranks),
                "lower --batch-size", Error::Kind::kUsage);
  }
  return (dataset.count + (options.drop_last ? 0 : global_batch - 1)) / global_batch;
}

/// Encoded images are delivered as images.
PipelineOptions WhatCanBeDelivered(PipelineOptions options, const Dataset& dataset) {
  if (dataset.encoded) options.deliver_bytes = false;
  return options;
}

/// Fisher and Yates' shuffle of 0, …, n - 1: a pure function of (seed, epoch).
void Shuffle(uint64_t seed, int64_t epoch, std::vector<uint32_t>& order) {
  std::iota(order.begin(), order.end(), 0u);
  RandomStream random(seed ^ kOrderKey, static_cast<uint64_t>(epoch));
  for (size_t i = order.size() - 1; i > 0; --i) {
    std::swap(order[i], order[random.Below(static_cast<uint32_t>(i + 1))]);
  }
}

/// Makes a batch's images from those of a data set. Workers share one, each with its own scratch.
class ImageMaker {
 public:
  ImageMaker(const Dataset& dataset, const PipelineOptions& options) : dataset_(dataset) {
    if (dataset.encoded) {
      transform_.emplace(dataset.image_options, options.augmentation, options.normalization,
                         options.seed);
    } else {
      augmenter_.emplace(dataset.height, dataset.width, dataset.channels, options.normalization,
                         options.augmentation, options.seed);
    }
  }

  struct Scratch {
    std::vector<uint8_t> bytes;
    ImageTransform::Scratch transform;
  };

  /// @throws Error for an image that cannot be decoded.
  void Make(int64_t epoch, int64_t index, float* image, Scratch& scratch) const {
    if (augmenter_) {
      augmenter_->Apply(augmenter_->Draw(epoch, index), dataset_.image(index), image);
      return;
    }
    const std::span<const uint8_t> bytes = dataset_.encoded->Read(index, scratch.bytes);
    transform_->Apply(bytes, dataset_.encoded->name(index), epoch, index, image, scratch.transform);
  }

  /// Null for encoded images.
  const Augmenter* augmenter() const { return augmenter_ ? &*augmenter_ : nullptr; }

 private:
  const Dataset& dataset_;
  std::optional<Augmenter> augmenter_;       // of stored images
  std::optional<ImageTransform> transform_;  // of encoded ones
};

/// One batch's memory.
struct Slot {
  std::vector<uint32_t> rows;  // which images of the data set, without padding
  std::vector<float> images;
  std::vector<uint8_t> bytes;
  std::vector<Augmentation> augmentations;
  std::vector<int32_t> labels;
  std::vector<std::string> unreadable;
  ImageMaker::Scratch scratch;
  Batch batch;
  int64_t filled = -1;       // the number of the batch that is ready in it
  std::exception_ptr error;  // or what went wrong with that batch
};

}  // namespace

// Batches are numbered 0, 1, 2, … from where the pipeline starts; batch n lives in slot
// n mod slots. A worker takes the next number as soon as its slot is free.
struct BatchPipeline::Workers {
  Workers(const Dataset& dataset, const PipelineOptions& options, int64_t first_epoch,
          int64_t first_index);
  Batch Next(const std::function<void()>& while_waiting);
  void Run(const std::stop_token& stop);
  void Assign(int64_t number, Slot& slot);
  void Fill(Slot& slot) const;
  Slot& SlotOf(int64_t number) { return slots[static_cast<size_t>(number) % slots.size()]; }

  const Dataset& dataset;
  const PipelineOptions options;
  const int64_t batches_per_epoch;
  const int64_t first_epoch, first_index;
  const int64_t image_size;  // values
  const ImageMaker maker;

  std::mutex mutex;  // guards all that follows, but for the content of slots being filled or read
  std::condition_variable_any room;  // a slot became free
  std::condition_variable ready;     // a slot became filled
  std::vector<Slot> slots;
  std::vector<uint32_t> order;  // of the images in order_epoch
  int64_t order_epoch = -1;
  int64_t taken = 0;      // batches that workers have begun
  int64_t delivered = 0;  // batches that Next has returned; all but the last are free again

  std::vector<std::jthread> threads;  // last, so that they stop before the rest goes
};

BatchPipeline::Workers::Workers(const Dataset& dataset, const PipelineOptions& options,
                                int64_t first_epoch, int64_t first_index)
    : dataset(dataset),
      options(WhatCanBeDelivered(options, dataset)),
      batches_per_epoch(CheckOptions(dataset, options)),
      first_epoch(first_epoch),
      first_index(first_index),
      image_size(dataset.image_bytes()),
      maker(dataset, options),
      slots(static_cast<size_t>(std::max<int64_t>(options.prefetch, options.threads)) + 1),
      order(static_cast<size_t>(dataset.count)) {
  CheckRange("epoch to start at", first_epoch, 0, int64_t{1} << 31);
  CheckRange("batch to start at", first_index, 0, batches_per_epoch);
  std::iota(order.begin(), order.end(), 0u);
  for (Slot& slot : slots) {
    slot.rows.reserve(static_cast<size_t>(options.batch_size));
    slot.labels.resize(static_cast<size_t>(options.batch_size));
    const auto size = static_cast<size_t>(options.batch_size * image_size);
    if (this->options.deliver_bytes) {  // those asked for need not be
      slot.bytes.resize(size);
      slot.augmentations.resize(slot.labels.size());
    } else {
      slot.images.resize(size);
    }
  }
  for (int i = 0; i < options.threads; ++i) {
    threads.emplace_back([this](const std::stop_token& stop) { Run(stop); });
  }
}

void BatchPipeline::Workers::Run(const std::stop_token& stop) {
  std::unique_lock lock(mutex);
  const auto has_room = [this] {
    const int64_t in_use_from = std::max<int64_t>(delivered - 1, 0);
    return taken < in_use_from + std::ssize(slots);
  };
  while (room.wait(lock, stop, has_room) && !stop.stop_requested()) {
    const int64_t number = taken++;
    Slot& slot = SlotOf(number);
    Assign(number, slot);
    lock.unlock();
    try {
      Fill(slot);
    } catch (...) {
      slot.error = std::current_exception();
    }
    lock.lock();
    slot.filled = number;
    ready.notify_one();
  }
}

void BatchPipeline::Workers::Assign(int64_t number, Slot& slot) {
  const int64_t from_first_epoch = first_index + number;
  Batch& batch = slot.batch;
  batch.epoch = first_epoch + from_first_epoch / batches_per_epoch;
  batch.index = from_first_epoch % batches_per_epoch;
  batch.last_of_epoch = batch.index + 1 == batches_per_epoch;
  if (options.shuffle && batch.epoch != order_epoch) {
    Shuffle(options.seed, batch.epoch, order);
    order_epoch = batch.epoch;
  }
  const int64_t begin =
      std::min((batch.index * options.ranks + options.rank) * options.batch_size, dataset.count);
  batch.rows = std::min(options.batch_size, dataset.count - begin);
  slot.rows.assign(order.begin() + begin, order.begin() + begin + batch.rows);
}

void BatchPipeline::Workers::Fill(Slot& slot) const {
  slot.unreadable.clear();
  std::vector<int64_t> bad;
  int64_t good = -1;  // the first row that is
  for (int64_t i = 0; i < slot.batch.rows; ++i) {
    const uint32_t row = slot.rows[static_cast<size_t>(i)];
    int32_t& label = slot.labels[static_cast<size_t>(i)];
    label = dataset.labels[row];
    if (label < 0 || label >= dataset.classes) {
      throw Error(fmt::format("cannot make a batch: image {} of the data set {} has label {}, and "
                              "there are {} classes",
                              row, dataset.name, label, dataset.classes),
                  "check the data set's files");
    }
    if (options.deliver_bytes) {
      slot.augmentations[static_cast<size_t>(i)] = maker.augmenter()->Draw(slot.batch.epoch, row);
      std::copy_n(dataset.image(row), image_size, slot.bytes.data() + i * image_size);
      continue;
    }
    try {
      maker.Make(slot.batch.epoch, row, slot.images.data() + i * image_size, slot.scratch);
      if (good < 0) good = i;
    } catch (const Error& error) {
      if (!dataset.image_options.skip_unreadable) throw;
      slot.unreadable.emplace_back(error.what());
      label = kPaddingLabel;
      bad.push_back(i);
    }
  }
  if (good < 0 && !bad.empty() && options.drop_last) {
    throw Error(fmt::format("none of a batch's {} images can be decoded; the first: {}", bad.size(),
                            slot.unreadable.front()),
                "");
  }
  for (const int64_t i : bad) {
    float* const image = slot.images.data() + i * image_size;
    if (good < 0) {
      std::fill_n(image, image_size, 0.0f);
    } else {
      std::copy_n(slot.images.data() + good * image_size, image_size, image);
    }
  }
  std::fill(slot.labels.begin() + slot.batch.rows, slot.labels.end(), kPaddingLabel);
  if (options.deliver_bytes) {
    const size_t rows = slot.rows.size();
    slot.batch.bytes = std::span(slot.bytes).first(rows * static_cast<size_t>(image_size));
    slot.batch.augmentations = std::span(slot.augmentations).first(rows);
  } else {
    std::fill(slot.images.begin() + slot.batch.rows * image_size, slot.images.end(), 0.0f);
    slot.batch.images = slot.images;
  }
  slot.batch.labels = slot.labels;
  slot.batch.unreadable = slot.unreadable;
}

Batch BatchPipeline::Workers::Next(const std::function<void()>& while_waiting) {
  std::unique_lock lock(mutex);
  const int64_t number = delivered;
  Slot& slot = SlotOf(number);
  const auto is_filled = [&] { return slot.filled == number; };
  while (!ready.wait_for(lock, std::chrono::seconds(1), is_filled)) {
    if (while_waiting) while_waiting();
  }
  if (slot.error) std::rethrow_exception(slot.error);
  ++delivered;
  room.notify_one();
  return slot.batch;
}

BatchPipeline::BatchPipeline(const Dataset& dataset, const PipelineOptions& options,
                             int64_t first_epoch, int64_t first_index) {
  try {
    workers_ = std::make_unique<Workers>(dataset, options, first_epoch, first_index);
  } catch (const std::bad_alloc&) {
    throw Error(fmt::format("cannot make batches of {} images of {} values: out of memory",
                            options.batch_size, dataset.image_bytes()),
                "lower --batch-size or --workers");
  } catch (const std::system_error& error) {
    throw Error(fmt::format("cannot start {} data threads: {}", options.threads, error.what()),
                "lower --workers");
  }
}

BatchPipeline::~BatchPipeline() = default;

Batch BatchPipeline::Next(const std::function<void()>& while_waiting) {
  return workers_->Next(while_waiting);
}

const PipelineOptions& BatchPipeline::options() const { return workers_->options; }
const Augmenter& BatchPipeline::augmenter() const { return *workers_->maker.augmenter(); }
int64_t BatchPipeline::batches_per_epoch() const { return workers_->batches_per_epoch; }

}  // namespace thinwire
