#include "datasets/batch_pipeline.h"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <new>
#include <span>
#include <stop_token>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "datasets/batch_order.h"
#include "datasets/image_maker.h"
#include "kernels/error.h"

namespace thinwire {
namespace {

constexpr int32_t kPaddingLabel = -1;

void CheckRange(const char* what, int64_t value, int64_t low, int64_t high) {
  if (value >= low && value <= high) return;
  throw Error(fmt::format("cannot make batches: the {} is {}", what, value),
              fmt::format("choose {} to {}", low, high), Error::Kind::kUsage);
}

/// Checked before anything is allocated.
BatchOrderOptions CheckOptions(const Dataset& dataset, const PipelineOptions& options) {
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
  return {.batch_size = options.batch_size,
          .shuffle = options.shuffle,
          .drop_last = options.drop_last,
          .seed = options.seed,
          .rank = options.rank,
          .ranks = options.ranks};
}

/// How many images a thread takes at a time: one that has to be decoded, or as many small ones as
/// are worth the trouble.
int64_t PieceSize(const Dataset& dataset) {
  constexpr int64_t kBytes = 1 << 16;
  return dataset.encoded ? 1 : std::max<int64_t>(1, kBytes / dataset.image_bytes());
}

/// One that the trainer reads, and enough others to keep all threads busy.
size_t SlotCount(const PipelineOptions& options, int64_t piece_size) {
  const int64_t pieces = (options.batch_size + piece_size - 1) / piece_size;
  const int64_t busy = (options.threads + pieces - 1) / pieces;
  return static_cast<size_t>(std::max(options.prefetch, busy)) + 1;
}

/// One batch's memory.
struct Slot {
  std::vector<uint32_t> rows;  // which images of the data set, without padding
  std::vector<float> images;
  std::vector<uint8_t> bytes;
  std::vector<Augmentation> augmentations;
  std::vector<int32_t> labels;
  std::vector<std::string> problems;  // of each row that could not be read
  std::vector<std::string> unreadable;
  Batch batch;

  // Guarded by the workers' mutex:
  int64_t number = -1;     // of the batch that is in it
  int64_t untaken = 0;     // the first row that no thread has begun
  int64_t unfinished = 0;  // rows
  bool filled = false;
  int64_t error_row = -1;
  std::exception_ptr error;  // what went wrong with the batch, in its first row of that kind
};

/// Rows of a batch for one thread to make.
struct Piece {
  Slot& slot;
  int64_t begin, end;
};

}  // namespace

// Batches are numbered 0, 1, 2, … from where the pipeline starts; batch n lives in slot
// n mod slots. Workers share one batch after another, a piece at a time, and begin the next as soon
// as its slot is free.
struct BatchPipeline::Workers {
  Workers(const Dataset& dataset, const PipelineOptions& options, int64_t first_epoch,
          int64_t first_index);
  Batch Next(const std::function<void()>& while_waiting);
  void Run(const std::stop_token& stop);
  bool HasWork();
  Piece TakePiece();
  void Assign(int64_t number, Slot& slot);
  void Fill(const Piece& piece, ImageMaker::Scratch& scratch);
  void FillRow(Slot& slot, int64_t i, ImageMaker::Scratch& scratch) const;
  void Finish(Slot& slot) const;
  void ReplaceUnreadable(Slot& slot) const;
  Slot& SlotOf(int64_t number) { return slots[static_cast<size_t>(number) % slots.size()]; }

  const Dataset& dataset;
  const PipelineOptions options;
  BatchOrder order;  // what follows needs its options checked
  const int64_t first_epoch, first_index;
  const int64_t image_size;  // values
  const int64_t piece_size;  // rows
  const ImageMaker maker;

  std::mutex mutex;  // guards all that follows, but for the content of slots being filled or read
  std::condition_variable_any work;  // there is some
  std::condition_variable ready;     // a slot became filled
  std::vector<Slot> slots;
  int64_t begun = 0;      // batches that workers have begun
  int64_t delivered = 0;  // batches that Next has returned; all but the last are free again

  std::vector<std::jthread> threads;  // last, so that they stop before the rest goes
};

BatchPipeline::Workers::Workers(const Dataset& dataset, const PipelineOptions& options,
                                int64_t first_epoch, int64_t first_index)
    : dataset(dataset),
      options(options),
      order(dataset.count, CheckOptions(dataset, options)),
      first_epoch(first_epoch),
      first_index(first_index),
      image_size(dataset.image_bytes()),
      piece_size(PieceSize(dataset)),
      maker(dataset, options.augmentation, options.normalization, options.seed),
      slots(SlotCount(options, piece_size)) {
  CheckRange("epoch to start at", first_epoch, 0, int64_t{1} << 31);
  CheckRange("batch to start at", first_index, 0, order.batches_per_epoch());
  for (Slot& slot : slots) {
    slot.rows.reserve(static_cast<size_t>(options.batch_size));
    slot.labels.resize(static_cast<size_t>(options.batch_size));
    slot.problems.resize(slot.labels.size());
    const auto size = static_cast<size_t>(options.batch_size * image_size);
    if (options.deliver_bytes) {
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

bool BatchPipeline::Workers::HasWork() {
  if (begun > 0) {
    const Slot& newest = SlotOf(begun - 1);
    if (newest.untaken < newest.batch.rows) return true;
  }
  const int64_t in_use_from = std::max<int64_t>(delivered - 1, 0);
  return begun < in_use_from + std::ssize(slots);
}

Piece BatchPipeline::Workers::TakePiece() {
  if (begun == 0 || SlotOf(begun - 1).untaken == SlotOf(begun - 1).batch.rows) {
    Assign(begun, SlotOf(begun));
    ++begun;
    work.notify_all();
  }
  Slot& slot = SlotOf(begun - 1);
  const int64_t begin = slot.untaken;
  slot.untaken = std::min(begin + piece_size, slot.batch.rows);
  return {slot, begin, slot.untaken};
}

void BatchPipeline::Workers::Run(const std::stop_token& stop) {
  ImageMaker::Scratch scratch;
  std::unique_lock lock(mutex);
  while (work.wait(lock, stop, [this] { return HasWork(); }) && !stop.stop_requested()) {
    const Piece piece = TakePiece();
    Slot& slot = piece.slot;
    lock.unlock();
    Fill(piece, scratch);
    lock.lock();
    slot.unfinished -= piece.end - piece.begin;
    // A batch may have no rows, but it has one piece.
    if (slot.unfinished > 0) continue;
    lock.unlock();
    try {
      if (!slot.error) Finish(slot);
    } catch (...) {
      slot.error = std::current_exception();
    }
    lock.lock();
    slot.filled = true;
    ready.notify_one();
  }
}

void BatchPipeline::Workers::Assign(int64_t number, Slot& slot) {
  const int64_t from_first_epoch = first_index + number, per_epoch = order.batches_per_epoch();
  Batch& batch = slot.batch;
  batch.epoch = first_epoch + from_first_epoch / per_epoch;
  batch.index = from_first_epoch % per_epoch;
  batch.last_of_epoch = batch.index + 1 == per_epoch;
  const std::span<const uint32_t> rows = order.Rows(batch.epoch, batch.index);
  slot.rows.assign(rows.begin(), rows.end());
  batch.rows = std::ssize(rows);
  slot.number = number;
  slot.untaken = 0;
  slot.unfinished = batch.rows;
  slot.filled = false;
}

void BatchPipeline::Workers::Fill(const Piece& piece, ImageMaker::Scratch& scratch) {
  for (int64_t i = piece.begin; i < piece.end; ++i) {
    try {
      FillRow(piece.slot, i, scratch);
    } catch (...) {
      // That of the first row counts, whichever thread comes first.
      const std::lock_guard lock(mutex);
      Slot& slot = piece.slot;
      if (slot.error && slot.error_row < i) continue;
      slot.error = std::current_exception();
      slot.error_row = i;
    }
  }
}

void BatchPipeline::Workers::FillRow(Slot& slot, int64_t i, ImageMaker::Scratch& scratch) const {
  const auto at = static_cast<size_t>(i);
  const uint32_t row = slot.rows[at];
  int32_t& label = slot.labels[at];
  label = dataset.labels[row];
  if (label < 0 || label >= dataset.classes) {
    throw Error(fmt::format("cannot make a batch: image {} of the data set {} has label {}, and "
                            "there are {} classes",
                            row, dataset.name, label, dataset.classes),
                "check the data set's files");
  }
  slot.problems[at].clear();
  try {
    if (options.deliver_bytes) {
      slot.augmentations[at] =
          maker.Make(slot.batch.epoch, row, slot.bytes.data() + i * image_size, scratch);
    } else {
      maker.Make(slot.batch.epoch, row, slot.images.data() + i * image_size, scratch);
    }
  } catch (const Error& error) {
    if (!dataset.image_options.skip_unreadable) throw;
    slot.problems[at] = error.what();
    label = kPaddingLabel;
  }
}

void BatchPipeline::Workers::Finish(Slot& slot) const {
  ReplaceUnreadable(slot);
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

void BatchPipeline::Workers::ReplaceUnreadable(Slot& slot) const {
  slot.unreadable.clear();
  const auto problems = std::span(slot.problems).first(slot.rows.size());
  int64_t good = 0;  // the first row that is, if any
  while (good < slot.batch.rows && !problems[static_cast<size_t>(good)].empty()) ++good;
  for (int64_t i = 0; i < slot.batch.rows; ++i) {
    const std::string& problem = problems[static_cast<size_t>(i)];
    if (problem.empty()) continue;
    slot.unreadable.push_back(problem);
    const auto replace = [&](auto& values) {
      if (good < slot.batch.rows) {
        std::copy_n(values.begin() + good * image_size, image_size,
                    values.begin() + i * image_size);
      } else {
        std::fill_n(values.begin() + i * image_size, image_size, 0);
      }
    };
    if (options.deliver_bytes) {
      slot.augmentations[static_cast<size_t>(i)] = {};
      replace(slot.bytes);
    } else {
      replace(slot.images);
    }
  }
  if (good == slot.batch.rows && good > 0 && options.drop_last) {
    throw Error(fmt::format("none of a batch's {} images can be decoded; the first: {}", good,
                            slot.unreadable.front()),
                "");
  }
}

Batch BatchPipeline::Workers::Next(const std::function<void()>& while_waiting) {
  std::unique_lock lock(mutex);
  const int64_t number = delivered;
  Slot& slot = SlotOf(number);
  const auto is_filled = [&] { return slot.number == number && slot.filled; };
  while (!ready.wait_for(lock, std::chrono::seconds(1), is_filled)) {
    if (while_waiting) while_waiting();
  }
  if (slot.error) std::rethrow_exception(slot.error);
  ++delivered;
  work.notify_one();
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
const ImageMaker& BatchPipeline::image_maker() const { return workers_->maker; }
int64_t BatchPipeline::batches_per_epoch() const { return workers_->order.batches_per_epoch(); }

}  // namespace thinwire
