// A worker's sparse messages, one to each server.
#include <memory>
#include <numeric>

#include "optim/choosing_links.h"
#include "optim/sparse_link.h"

namespace thinwire {
namespace {

class SparseUplink : public ChoosingUplink, private SparseLink {
 public:
  SparseUplink(const LinkContext& context, const LinkTensors& tensors, bool random)
      : ChoosingUplink(context, tensors),
        SparseLink(context, tensors, random),
        sent_(context.device(), k_, context.type()),
        own_ranges_(RangesWithin(tensors, context.own_shard())) {
    if (!random) {
      top_k_ = device().MakeTopK({.size = context.arena.padded_size(),
                                  .ranges = tensors.ranges,
                                  .k = k_,
                                  .type = context.type()});
    }
    const int64_t most = std::min(k_, ElementsOf(own_ranges_));
    for (int rank = 0; rank < context.communicator.size(); ++rank) {
      received_.emplace_back(device(), most, context.type());
    }
  }

  void Mean(bool add, View y) override {
    PhaseTimer timer(context_.costs.decode);
    if (!add) {
      for (const Range& range : own_ranges_) device().Zero(Slice(y, range));
    }
    const double share = 1.0 / static_cast<double>(received_.size());
    for (const SparseVector& message : received_) message.AddTo(share, y);
  }

  void AddOwn(double factor, View y) override { sent_.AddTo(factor, y); }

 private:
  using SparseLink::context_;
  using SparseLink::tensors_;

  void Choose(const CompressionInput& v, ConstView state, int state_factor) override {
    PhaseTimer timer(context_.costs.compress);
    sent_.count = k_;
    if (random_) {
      Draw(context_.communicator.rank(), Direction::kUp, drawn_);
      device().CopyFromHost(drawn_.data(), sent_.indices());
      device().Gather(v, state, state_factor, sent_.indices(), sent_.values());
    } else {
      top_k_->Select(v, state, state_factor, sent_.indices(), sent_.values());
    }
    CheckFinite(sent_);
    Round(sent_);
  }

  void Exchange() override {
    Communicator& communicator = context_.communicator;
    const auto ranks = static_cast<size_t>(communicator.size());
    context_.costs.paper_bits_up += paper_bits();
    // One message to each server.
    std::vector<int32_t> lengths(ranks), incoming_lengths(ranks);
    {
      PhaseTimer timer(context_.costs.compress);
      Download(sent_, host_);
      outgoing_.clear();
      for (size_t rank = 0; rank < ranks; ++rank) {
        lengths[rank] = Encode(context_.shards[static_cast<int>(rank)]);
      }
    }
    context_.costs.coded_bits_up += 8 * static_cast<int64_t>(outgoing_.size());
    {
      PhaseTimer timer(context_.costs.wire);
      const std::vector<int64_t> words(ranks, sizeof(int32_t));
      communicator.AllToAllHost(std::as_bytes(std::span(lengths)), words,
                                std::as_writable_bytes(std::span(incoming_lengths)), words,
                                Purpose::kControl);
      for (size_t rank = 0; rank < ranks; ++rank) {
        CheckLength(rank, incoming_lengths[rank], received_[0].capacity(), own_shard());
      }
      const std::vector<int64_t> sending(lengths.begin(), lengths.end());
      const std::vector<int64_t> receiving(incoming_lengths.begin(), incoming_lengths.end());
      incoming_.resize(
          static_cast<size_t>(std::accumulate(receiving.begin(), receiving.end(), int64_t{0})));
      communicator.AllToAllHost(outgoing_, sending, incoming_, receiving, Purpose::kUplink);
    }
    PhaseTimer timer(context_.costs.decode);
    size_t start = 0;
    for (size_t rank = 0; rank < ranks; ++rank) {
      const auto length = static_cast<size_t>(incoming_lengths[rank]);
      if (random_) Draw(static_cast<int>(rank), Direction::kUp, drawn_);
      host_.Resize(0);
      Decode({incoming_.data() + start, length}, own_shard(), Within(drawn_, own_shard()),
             received_[rank].capacity(), static_cast<int>(rank), host_);
      host_.MoveIndices(-own_shard().begin);
      Upload(host_, received_[rank]);
      start += length;
    }
  }

  SparseVector sent_;
  const std::vector<Range> own_ranges_;
  std::unique_ptr<TopK> top_k_;
  std::vector<SparseVector> received_;  // by rank; indices count from the shard's begin
  std::vector<int32_t> drawn_;
};

}  // namespace

std::unique_ptr<Uplink> MakeSparseUplink(const LinkContext& context, const LinkTensors& tensors,
                                         bool random) {
  return std::make_unique<SparseUplink>(context, tensors, random);
}

}  // namespace thinwire
