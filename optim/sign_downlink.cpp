// The servers' messages of signs, which every rank decodes.
#include <fmt/format.h>

#include <limits>

#include "kernels/error.h"
#include "optim/sign_link.h"

namespace thinwire {
namespace {

/// A part of a shard's signs that is decoded by itself.
struct SignSlice {
  Range range;        // in the whole vector
  int64_t end_bytes;  // of its rank's message, from which on it is whole
  ShardShape shape;
  std::unique_ptr<SignCompression> compression;
};

class SignDownlink : public Downlink {
 public:
  SignDownlink(const LinkContext& context, const LinkTensors& tensors, bool scaled)
      : Downlink(context),
        whole_(WholeShape(context, tensors)),
        shards_(ShardShapes(context, whole_, scaled)),
        scaled_(scaled),
        paper_bits_(tensors.count + (scaled ? 32 * whole_.groups() : 0)),
        received_(context.device(), whole_),
        own_(context.device(), own().shape) {
    if (!scaled) received_.SetScalesToOne(device());
    int64_t sums = 0;
    for (const ShardShape& shard : shards_) {
      sum_counts_.push_back(shard.sent_groups);
      word_counts_.push_back(shard.words);
      sums += shard.sent_groups;
    }
    all_sums_ = device().Allocate(sums * SizeOf(DataType::kFloat64));
    if (context.communicator.size() > 1 && device().host_visible()) MakeSlices();
  }

  void Send(ConstView v) override {
    Pack([&] { own_.compression->Pack({.values = v}, own_.bits, own_.sums); });
  }

  void SendDifference(ConstView v, View target) override {
    Pack(
        [&] { own_.compression->PackDifference({.values = v}, {}, target, own_.bits, own_.sums); });
  }

  void SendError(View error) override {
    Settle();
    Pack([&] { own_.compression->Pack({.values = error}, own_.bits, own_.sums); });
    error_ = error;
  }

  void SendMeanDifference(Uplink& uplink, View estimate, View target) override {
    const auto messages = uplink.sign_messages();
    if (messages.empty()) return Downlink::SendMeanDifference(uplink, estimate, target);
    Pack([&] {
      own_.compression->PackMeanDifference(messages, estimate, target, own_.bits, own_.sums);
    });
  }

  void SendMeanError(Uplink& uplink, View error) override {
    const auto messages = uplink.sign_messages();
    if (messages.empty()) return Downlink::SendMeanError(uplink, error);
    Pack([&] {
      const ConstView pending = error_ ? OwnScales() : View{};
      error_ = {};
      own_.compression->PackMeanSum(messages, pending, error, own_.bits, own_.sums);
    });
    error_ = error;
  }

  void Settle() override {
    PhaseTimer timer(context_.costs.compress);
    if (error_) own_.compression->SettleError(OwnScales(), error_);
    error_ = {};
  }

  void Receive(View y, const RangeWork& then) override {
    Decode(
        context_.costs.decode,
        [&](SignCompression& compression, const SignMessage& message, const Range& range) {
          compression.Mean({&message, 1}, false, Slice(y, range));
        },
        then);
  }

  void ReceiveAdd(double factor, View y, const RangeWork& then) override {
    Decode(
        context_.costs.decode,
        [&](SignCompression& compression, const SignMessage& message, const Range& range) {
          compression.Add(message, factor, Slice(y, range));
        },
        then);
  }

  void ReceiveAndUpdate(const AdamUpdate& update, View estimate, View momentum, View variance,
                        View max_variance, View x) override {
    const auto of = [](View view, const Range& range) { return view ? Slice(view, range) : view; };
    Decode(context_.costs.update,
           [&](SignCompression& compression, const SignMessage& message, const Range& range) {
             AdamUpdate part = update;
             part.common.bfloat16_x = of(update.common.bfloat16_x, range);
             compression.AddAndUpdate(message, part, of(estimate, range), of(momentum, range),
                                      of(variance, range), of(max_variance, range), of(x, range));
           });
  }

 private:
  Device& device() const { return context_.device(); }
  const ShardShape& own() const {
    return shards_[static_cast<size_t>(context_.communicator.rank())];
  }
  View OwnScales() const { return received_.scales.Slice(own().first_group, own().groups); }

  void MakeSlices() {
    for (int rank = 0; rank < context_.shards.ranks(); ++rank) {
      const Range& shard = context_.shards[rank];
      std::vector<SignSlice>& slices = slices_.emplace_back();
      for (const Range& range : SlicesOf(shard)) {
        ShardShape shape(whole_, range, scaled_);
        auto compression = device().MakeSignCompression(shape.shape);
        slices.push_back({range, (range.end - shard.begin) / kWordBits * kWordBytes,
                          std::move(shape), std::move(compression)});
      }
    }
    next_.resize(slices_.size());
  }

  template <typename Function>
  void Pack(const Function& pack) {
    {
      PhaseTimer timer(context_.costs.compress);
      if (own().words > 0) pack();
    }
    context_.costs.paper_bits_down += paper_bits_;
    context_.costs.coded_bits_down += paper_bits_;
    words_sent_ = false;
    if (scaled_) ExchangeScales();
    if (slices_.empty()) SendWords();  // what is decoded at once need not be asked for
  }

  void SendWords(const ArrivalWork& work = {}) {
    words_sent_ = true;
    PhaseTimer timer(context_.costs.wire);
    context_.communicator.AllGather(own_.bits, received_.bits, word_counts_, Purpose::kDownlink,
                                    work);
  }

  void ExchangeScales() {
    PhaseTimer timer(context_.costs.wire);
    const View all = all_sums_.view(DataType::kFloat64);
    context_.communicator.AllGather(own_.sums, all, sum_counts_, Purpose::kDownlink);
    context_.checks.CheckMagnitudes(all, [this, all](int64_t index) { ThrowBadSum(all, index); });
    received_.compression->Scales(AddUp(all), received_.scales);
  }

  /// The sums of the groups: in rank order, each rank's to those of its groups.
  ConstView AddUp(ConstView all) {
    const int64_t groups = whole_.groups();
    const auto has_all = [&](const ShardShape& shard) { return shard.sent_groups == groups; };
    // One server for all, or a part of every group in each shard: of one scale, always.
    if (all.size == groups) return all.Slice(0, groups);
    if (std::all_of(shards_.begin(), shards_.end(), has_all)) {
      device().SumParts(all, 1, received_.sums);
      return received_.sums;
    }
    device().Zero(received_.sums);
    int64_t start = 0;
    for (const ShardShape& shard : shards_) {
      device().Evaluate({.values = all.Slice(start, shard.sent_groups)}, 1,
                        received_.sums.Slice(shard.first_group, shard.sent_groups));
      start += shard.sent_groups;
    }
    return received_.sums;
  }

  /// Calls decode(compression, message, range), and then `then`, with the whole message, or with
  /// one slice after the other as they arrive. What decoding takes counts to `phase`, not to the
  /// wire.
  template <StepPhase kPhase, typename Function>
  void Decode(PhaseSeconds<kPhase>& phase, const Function& decode, const RangeWork& then = {}) {
    std::fill(next_.begin(), next_.end(), 0);
    const auto decode_slice = [&](std::span<const int64_t> arrived) {
      const SignSlice* const slice = NextSlice(arrived);
      if (slice == nullptr) return false;
      {
        PhaseTimer timer(phase);
        const SignMessage message = {
            received_.bits.Slice(slice->range.begin / kWordBits, slice->shape.words),
            received_.scales.Slice(slice->shape.first_group, slice->shape.groups)};
        decode(*slice->compression, message, slice->range);
      }
      if (then) then(slice->range);
      return true;
    };
    if (!words_sent_) SendWords(decode_slice);
    const bool begun = std::any_of(next_.begin(), next_.end(), [](size_t n) { return n > 0; });
    if (begun) {
      const std::vector<int64_t> everything(next_.size(), std::numeric_limits<int64_t>::max());
      while (decode_slice(everything)) {
      }
      return;
    }
    const Range all{0, whole_.size};
    {
      PhaseTimer timer(phase);
      decode(*received_.compression, received_.message(), all);
    }
    if (then) then(all);
  }

  /// A slice that has arrived and is not decoded yet; null if there is none.
  const SignSlice* NextSlice(std::span<const int64_t> arrived) {
    for (size_t r = 0; r < slices_.size(); ++r) {
      if (next_[r] == slices_[r].size()) continue;
      const SignSlice& slice = slices_[r][next_[r]];
      if (slice.end_bytes > arrived[r]) continue;
      ++next_[r];
      return &slice;
    }
    return nullptr;
  }

  [[noreturn]] void ThrowBadSum(View sums, int64_t index) const {
    double sum = 0;
    device().CopyToHost(sums.Slice(index, 1), &sum);
    size_t rank = 0;
    for (int64_t end = sum_counts_[0]; index >= end; end += sum_counts_[rank]) ++rank;
    throw Error(fmt::format("step {}: rank {} says that the magnitudes of its shard sum to {}",
                            context_.step, rank, sum),
                "the checkpoints are intact; try a smaller --lr, or look at that rank's memory");
  }

  const SignShape whole_;
  const std::vector<ShardShape> shards_;
  const bool scaled_;
  const int64_t paper_bits_;
  Signs received_;                                 // the whole vector
  Signs own_;                                      // this rank's shard; the scales are received_'s
  std::vector<int64_t> sum_counts_, word_counts_;  // of the ranks' messages
  Buffer all_sums_;
  bool words_sent_ = true;
  // Of each rank, if messages are decoded as they come: its slices, and which is next.
  std::vector<std::vector<SignSlice>> slices_;
  std::vector<size_t> next_;
  View error_{};  // waits for the last message
};

}  // namespace

std::unique_ptr<Downlink> MakeSignDownlink(const LinkContext& context, const LinkTensors& tensors,
                                           bool scaled) {
  return std::make_unique<SignDownlink>(context, tensors, scaled);
}

}  // namespace thinwire
