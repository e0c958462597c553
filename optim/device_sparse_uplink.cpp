// A worker's Top-K messages in device memory, one to each server.
#include <span>

#include "optim/choosing_links.h"
#include "optim/device_sparse_link.h"

namespace thinwire {
namespace {

class DeviceSparseUplink : public ChoosingUplink, private DeviceSparseLink {
 public:
  DeviceSparseUplink(const LinkContext& context, const LinkTensors& tensors)
      : ChoosingUplink(context, tensors),
        DeviceSparseLink(context, tensors),
        top_k_(device().MakeTopK({.size = context.arena.padded_size(),
                                  .ranges = tensors.ranges,
                                  .k = k_,
                                  .type = context.type()})),
        chosen_(device(), k_, context.type()),
        received_(device(), is_alone() ? 0 : most() * ranks(), context.type()) {
    chosen_.count = k_;
    if (is_alone()) {
      parts_ = {PartOf(chosen_, 0, k_)};
      return;
    }
    const auto count = static_cast<size_t>(ranks());
    sending_.assign(count, 0);
    receiving_.assign(count, most());
    if (has_one_server()) {
      sending_[0] = k_;
      return;
    }
    std::vector<int32_t> ends;
    for (int r = 0; r < ranks(); ++r) ends.push_back(static_cast<int32_t>(context.shards[r].end));
    ends_.resize(count);
    const auto bytes = static_cast<int64_t>(count) * SizeOf(DataType::kInt32);
    shard_ends_ = device().Allocate(bytes);
    places_ = device().Allocate(bytes);
    device().CopyFromHost(ends.data(), shard_ends_.view(DataType::kInt32));
  }

  void Mean(bool add, View y) override {
    if (y.size == 0) return;
    PhaseTimer timer(context_.costs.decode);
    if (!add) {
      for (const Range& range : own_ranges_) device().Zero(Slice(y, range));
    }
    for (const SparsePart& part : parts_) Add(part, 1.0 / ranks(), y, own_shard().begin);
  }

  void AddOwn(double factor, View y) override { chosen_.AddTo(factor, y); }

 private:
  using DeviceSparseLink::context_;
  using DeviceSparseLink::tensors_;

  void Choose(const CompressionInput& v, ConstView state, int state_factor) override {
    PhaseTimer timer(context_.costs.compress);
    top_k_->Select(v, state, state_factor, chosen_.indices(), chosen_.values());
    CheckOwn(chosen_.values());
  }

  void Exchange() override {
    context_.costs.paper_bits_up += paper_bits();
    context_.costs.coded_bits_up += coded_bits();
    if (is_alone()) return;
    if (!has_one_server()) FindLengths();
    PhaseTimer timer(context_.costs.wire);
    int64_t count = 0;
    for (const int64_t part : receiving_) count += part;
    received_.count = count;
    Communicator& communicator = context_.communicator;
    communicator.AllToAll(chosen_.values(), sending_, received_.values(), receiving_,
                          Purpose::kUplink);
    communicator.AllToAll(chosen_.indices(), sending_, received_.indices(), receiving_,
                          Purpose::kUplink);
    parts_.clear();
    int64_t begin = 0;
    for (int r = 0; r < ranks(); ++r) {
      const int64_t length = receiving_[static_cast<size_t>(r)];
      parts_.push_back(PartOf(received_, begin, length));
      begin += length;
      if (r != rank()) CheckReceived(parts_.back(), r, own_shard());
    }
  }

  /// How many elements go to each server, and come from each worker.
  void FindLengths() {
    {
      PhaseTimer timer(context_.costs.compress);
      const View places = places_.view(DataType::kInt32);
      device().LowerBounds(chosen_.indices(), shard_ends_.view(DataType::kInt32), places);
      device().CopyToHost(places, ends_.data());
      context_.checks.Read();  // before it sends what the others would complain of
    }
    PhaseTimer timer(context_.costs.wire);
    for (size_t r = 0; r < ends_.size(); ++r) sending_[r] = ends_[r] - (r == 0 ? 0 : ends_[r - 1]);
    const std::vector<int64_t> bytes(ends_.size(), sizeof(int64_t));
    context_.communicator.AllToAllHost(std::as_bytes(std::span(sending_)), bytes,
                                       std::as_writable_bytes(std::span(receiving_)), bytes,
                                       Purpose::kControl);
    for (size_t r = 0; r < receiving_.size(); ++r) {
      if (receiving_[r] >= 0 && receiving_[r] <= most()) continue;
      throw Error(fmt::format("step {}: rank {} announces a message of {} elements, where {} are "
                              "the most",
                              context_.step, r, receiving_[r], most()),
                  "the checkpoints are intact; look at that rank's build and settings");
    }
  }

  const std::unique_ptr<TopK> top_k_;
  SparseVector chosen_, received_;
  std::vector<SparsePart> parts_;             // of the shard, by worker
  std::vector<int64_t> sending_, receiving_;  // elements, by rank
  Buffer shard_ends_, places_;                // where each shard ends, and its part of chosen_
  std::vector<int32_t> ends_;                 // the latter, on the host
};

}  // namespace

std::unique_ptr<Uplink> MakeDeviceSparseUplink(const LinkContext& context,
                                               const LinkTensors& tensors) {
  return std::make_unique<DeviceSparseUplink>(context, tensors);
}

}  // namespace thinwire
