// Top-K's messages from device memory to device memory, of plain indices and full values.
//
// Uplink, from each worker to each server: those of the worker's K values that lie in the server's
// shard, and apart from them their indices (int32, of the whole vector). Downlink, from each server
// to all: the same of its part of the server's K. Paper bits: 64 an element.
//
// With one server, or one rank, lengths are known beforehand, and a step is one piece of work. Of
// several servers each gets a part whose length depends on the values: then the host waits for the
// device twice, once for how many elements go to each server and once for how many each server has
// chosen, and tells the other ranks before NCCL, which wants to know, moves them.
//
// A message of another rank is not trusted: before anything is done with its indices the device
// looks whether they rise within their range (FiniteChecks).
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <memory>
#include <thread>
#include <vector>

#include "kernels/error.h"
#include "optim/links.h"
#include "optim/sparse_link.h"

namespace thinwire {

/// Some elements of a SparseVector.
struct SparsePart {
  View indices, values;
};

/// What both directions share.
class DeviceSparseLink {
 protected:
  DeviceSparseLink(const LinkContext& context, const LinkTensors& tensors)
      : context_(context),
        tensors_(tensors),
        k_(ChosenCount(context.options, tensors)),
        own_ranges_(RangesWithin(tensors, context.own_shard())) {
    for (int rank = 0; rank < context.communicator.size(); ++rank) {
      if (context.shards[rank].size() > 0) ++servers_;
    }
  }

  Device& device() const { return context_.device(); }
  const Range& own_shard() const { return context_.own_shard(); }
  int rank() const { return context_.communicator.rank(); }
  int ranks() const { return context_.communicator.size(); }
  bool is_alone() const { return ranks() == 1; }
  bool has_one_server() const { return servers_ == 1; }  // rank 0
  /// Most elements of a message that lie in this rank's shard.
  int64_t most() const { return std::min(k_, ElementsOf(own_ranges_)); }
  int64_t paper_bits() const { return 64 * k_; }
  int64_t coded_bits() const {
    return 8 * k_ * (SizeOf(context_.type()) + SizeOf(DataType::kInt32));
  }

  static SparsePart PartOf(const SparseVector& sparse, int64_t begin, int64_t count) {
    return {sparse.indices().Slice(begin, count), sparse.values().Slice(begin, count)};
  }

  /// y += factor * part; y is of the range that begins with first_index.
  void Add(const SparsePart& part, double factor, View y, int64_t first_index) const {
    device().ScatterAdd(part.indices, part.values, factor, y, first_index);
  }

  void CheckOwn(ConstView values) const {
    context_.checks.Check(values, [this](int64_t) { ThrowNonFiniteGradient(context_); });
  }
  void CheckReceived(const SparsePart& part, int sender, const Range& range) const {
    context_.checks.CheckMessage(
        part.indices, part.values, range,
        [this, part, sender, range](int64_t place) { ThrowMalformed(part, sender, range, place); });
  }

  const LinkContext context_;
  const LinkTensors tensors_;
  const int64_t k_;
  const std::vector<Range> own_ranges_;  // within this rank's shard

 private:
  [[noreturn]] void ThrowMalformed(const SparsePart& part, int sender, const Range& range,
                                   int64_t place) const {
    int32_t index = 0, before = -1;
    device().CopyToHost(part.indices.Slice(place, 1), &index);
    if (place > 0) device().CopyToHost(part.indices.Slice(place - 1, 1), &before);
    const bool rises = index > before, within = index >= range.begin && index < range.end;
    // Of a single server's workers nobody waits before it sends: then the sender finds the value,
    // too, and knows which gradient it comes from. Its words are to be the first.
    if (rises && within && has_one_server()) std::this_thread::sleep_for(std::chrono::seconds(2));
    const char* const problem = !within  ? "an index beyond its range"
                                : !rises ? "indices that do not rise"
                                         : "a value that is NaN or infinite";
    throw Error(
        fmt::format("step {}: rank {}'s message is malformed: it holds {}, at place {} of {}",
                    context_.step, sender, problem, place, part.indices.size),
        "the checkpoints are intact; try a smaller --lr if it is a value, or look at that rank's "
        "build and memory");
  }

  int servers_ = 0;
};

}  // namespace thinwire
