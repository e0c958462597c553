// The scaled sign on the wire, C(v) = scale * sign(v), one scale a group of elements.
//
// Uplink, a message to each server: the words of its shard (bit j of word w is element 32 w + j,
// 1 means >= 0), then the scales of the groups that reach into its shard.
// Downlink, two messages from each server: the float64 sums of |v| (or v²) of its part of those
// groups, and the words of its shard. Everyone adds the sums in rank order, so a scale is taken
// over the whole vector wherever its group is cut. Scales come first, so that words can be decoded
// while the wire still carries others: where that is done, words are sent when they are asked for.
// Paper bits: one an element, and 32 a scale. Without scales (a vote) neither scales nor sums are
// sent, and every scale is 1.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/error.h"
#include "optim/links.h"

namespace thinwire {
namespace {

constexpr int64_t kWordBits = 32;
constexpr int64_t kWordBytes = 4;

/// The layout of a whole vector of signs over some tensors: runs and groups.
SignShape WholeShape(const LinkContext& context, const LinkTensors& tensors) {
  const std::string& granularity = context.options.scale_granularity;
  SignShape shape;
  shape.size = context.arena.padded_size();
  shape.type = context.type();
  if (context.options.sign_scale == "l2") shape.scale = SignShape::Scale::kRootMeanSquare;
  if (granularity == "model") shape.group_sizes = {0};
  for (const Range& range : tensors.ranges) {
    int64_t block = range.size();
    if (granularity.starts_with("block:")) block = std::stoll(granularity.substr(6));
    for (int64_t begin = range.begin; begin < range.end; begin += block) {
      const Range run{begin, std::min(begin + block, range.end)};
      if (granularity != "model") shape.group_sizes.push_back(0);
      shape.runs.push_back({run, shape.groups() - 1});
      shape.group_sizes.back() += run.size();
    }
  }
  return shape;
}

/// What of the whole shape lies in one shard. Elements and groups are counted from its own first.
struct ShardShape {
  ShardShape(const SignShape& whole, const Range& shard, bool scaled) : words(shard.size() / 32) {
    shape.size = shard.size();
    shape.scale = whole.scale;
    shape.type = whole.type;
    for (const ScaleRun& run : whole.runs) {
      const Range part{std::max(run.range.begin, shard.begin), std::min(run.range.end, shard.end)};
      if (part.begin >= part.end) continue;
      if (shape.runs.empty()) first_group = run.group;
      groups = run.group - first_group + 1;
      shape.runs.push_back(
          {{part.begin - shard.begin, part.end - shard.begin}, run.group - first_group});
    }
    const auto first = whole.group_sizes.begin() + first_group;
    shape.group_sizes.assign(first, first + groups);
    sent_groups = scaled ? groups : 0;
  }
  int64_t uplink_bytes() const { return words * kWordBytes + sent_groups * SizeOf(shape.type); }

  SignShape shape;
  int64_t words;
  int64_t first_group = 0, groups = 0;  // in the whole shape
  int64_t sent_groups = 0;              // scales or sums in a message
};

std::vector<ShardShape> ShardShapes(const LinkContext& context, const SignShape& whole,
                                    bool scaled) {
  std::vector<ShardShape> shapes;
  for (int rank = 0; rank < context.shards.ranks(); ++rank) {
    shapes.emplace_back(whole, context.shards[rank], scaled);
  }
  return shapes;
}

View Typed(View bytes, int64_t offset, int64_t count, DataType type) {
  return {bytes.as<std::byte>() + offset, count, type};
}

/// A part of a shard's signs that is decoded by itself.
struct SignSlice {
  Range range;        // in the whole vector
  int64_t end_bytes;  // of its rank's message, from which on it is whole
  ShardShape shape;
  std::unique_ptr<SignCompression> compression;
};

/// Buffers of one vector of signs.
struct Signs {
  Signs(Device& device, const SignShape& shape)
      : compression(device.MakeSignCompression(shape)),
        bits_buffer(device.Allocate(shape.words() * kWordBytes)),
        sums_buffer(device.Allocate(shape.groups() * SizeOf(DataType::kFloat64))),
        scales_buffer(device.Allocate(shape.groups() * SizeOf(shape.type))),
        bits(bits_buffer.view(DataType::kInt32).Slice(0, shape.words())),
        sums(sums_buffer.view(DataType::kFloat64).Slice(0, shape.groups())),
        scales(scales_buffer.view(shape.type).Slice(0, shape.groups())) {}
  SignMessage message() const { return {bits, scales}; }
  void SetScalesToOne(Device& device) {
    const std::vector<float> floats(static_cast<size_t>(scales.size), 1);
    const std::vector<double> doubles(static_cast<size_t>(scales.size), 1);
    const bool wide = scales.type == DataType::kFloat64;
    device.CopyFromHost(wide ? static_cast<const void*>(doubles.data()) : floats.data(), scales);
  }

  std::unique_ptr<SignCompression> compression;
  Buffer bits_buffer, sums_buffer, scales_buffer;
  View bits, sums, scales;
};

class SignUplink : public Uplink {
 public:
  SignUplink(const LinkContext& context, const LinkTensors& tensors, bool scaled)
      : context_(context),
        whole_(WholeShape(context, tensors)),
        shards_(ShardShapes(context, whole_, scaled)),
        scaled_(scaled),
        paper_bits_(tensors.count + (scaled ? 32 * whole_.groups() : 0)),
        signs_(context.device(), whole_),
        decoder_(context.device().MakeSignCompression(own().shape)) {
    if (!scaled) signs_.SetScalesToOne(device());
    const int ranks = context.communicator.size();
    if (ranks == 1) {
      messages_ = {signs_.message()};
      return;
    }
    int64_t outgoing = 0;
    for (const ShardShape& shard : shards_) {
      outgoing_bytes_.push_back(shard.uplink_bytes());
      outgoing += shard.uplink_bytes();
    }
    incoming_bytes_.assign(static_cast<size_t>(ranks), own().uplink_bytes());
    outgoing_ = device().Allocate(outgoing);
    incoming_ = device().Allocate(own().uplink_bytes() * ranks);
    if (own().words == 0) return;
    for (int rank = 0; rank < ranks; ++rank) {
      const View bytes = incoming_.view(DataType::kUint8);
      const int64_t start = own().uplink_bytes() * rank, words = own().words;
      const View scales =
          scaled ? Typed(bytes, start + words * kWordBytes, own().groups, context.type())
                 : signs_.scales.Slice(0, own().groups);
      messages_.push_back({Typed(bytes, start, words, DataType::kInt32), scales});
    }
  }

  void Send(const CompressionInput& v) override {
    Pack([&] { signs_.compression->Pack(v, signs_.bits, signs_.sums, Scales()); });
  }

  void SendDifference(const CompressionInput& v, View state) override {
    Pack([&] {
      const SignMessage pending = markov_state_ ? signs_.message() : SignMessage{};
      markov_state_ = {};
      signs_.compression->PackDifference(v, pending, state, signs_.bits, signs_.sums, Scales());
    });
    markov_state_ = state;
  }

  void SendSum(const CompressionInput& v, View error) override {
    Pack([&] {
      const ConstView pending = error_ ? signs_.scales : View{};
      error_ = {};
      signs_.compression->PackSum(v, pending, error, signs_.bits, signs_.sums, Scales());
    });
    error_ = error;
  }

  void Settle() override {
    PhaseTimer timer(context_.costs.compress);
    if (markov_state_) signs_.compression->Add(signs_.message(), 1, markov_state_);
    if (error_) signs_.compression->SettleError(signs_.scales, error_);
    markov_state_ = error_ = {};
  }

  void Mean(bool add, View y) override {
    PhaseTimer timer(context_.costs.decode);
    if (!messages_.empty()) decoder_->Mean(messages_, add, y);
  }

  std::span<const SignMessage> sign_messages() const override { return messages_; }

  void AddOwn(double factor, View y) override {
    signs_.compression->Add(signs_.message(), factor, y);
  }

 private:
  Device& device() const { return context_.device(); }
  const ShardShape& own() const {
    return shards_[static_cast<size_t>(context_.communicator.rank())];
  }

  /// Where a message's scales go.
  View Scales() const { return scaled_ ? signs_.scales : View{}; }

  template <typename Function>
  void Pack(const Function& pack) {
    {
      PhaseTimer timer(context_.costs.compress);
      pack();
      context_.checks.Check(signs_.sums, [this](int64_t) { ThrowNonFiniteGradient(context_); });
    }
    Exchange();
  }

  void Exchange() {
    context_.costs.paper_bits_up += paper_bits_;
    context_.costs.coded_bits_up += paper_bits_;
    if (context_.communicator.size() == 1) return;
    PhaseTimer timer(context_.costs.wire);
    const View bytes = outgoing_.view(DataType::kUint8);
    int64_t start = 0;
    for (int rank = 0; rank < context_.shards.ranks(); ++rank) {
      const ShardShape& shard = shards_[static_cast<size_t>(rank)];
      const View words = Typed(bytes, start, shard.words, DataType::kInt32);
      device().Copy(signs_.bits.Slice(context_.shards[rank].begin / kWordBits, shard.words), words);
      device().Copy(
          signs_.scales.Slice(shard.first_group, shard.sent_groups),
          Typed(bytes, start + shard.words * kWordBytes, shard.sent_groups, context_.type()));
      start += shard.uplink_bytes();
    }
    context_.communicator.AllToAll(bytes.Slice(0, start), outgoing_bytes_,
                                   incoming_.view(DataType::kUint8), incoming_bytes_,
                                   Purpose::kUplink);
    for (size_t rank = 0; rank < messages_.size(); ++rank) {
      context_.checks.Check(messages_[rank].scales, [this, rank](int64_t) {
        throw Error(fmt::format("step {}: the scale in rank {}'s message of signs is not a number",
                                context_.step, rank),
                    "the checkpoints are intact; look at that rank's messages and memory");
      });
    }
  }

  const LinkContext context_;
  const SignShape whole_;
  const std::vector<ShardShape> shards_;
  const bool scaled_;
  const int64_t paper_bits_;
  Signs signs_;
  std::unique_ptr<SignCompression> decoder_;  // of this rank's shard
  std::vector<int64_t> outgoing_bytes_, incoming_bytes_;
  Buffer outgoing_, incoming_;
  std::vector<SignMessage> messages_;  // received; none if this rank serves nothing
  View markov_state_{}, error_{};      // which of them waits for the last message
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
    CheckSums(all);
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

  void CheckSums(View all) {
    if (!device().host_visible()) {
      context_.checks.Check(all, [this, all](int64_t index) { ThrowBadSum(all, index); });
      return;
    }
    for (int64_t i = 0; i < all.size; ++i) {
      const double sum = all.as<double>()[i];
      if (!(std::isfinite(sum) && sum >= 0)) ThrowBadSum(all, i);
    }
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

std::unique_ptr<Uplink> MakeSignUplink(const LinkContext& context, const LinkTensors& tensors,
                                       bool scaled) {
  return std::make_unique<SignUplink>(context, tensors, scaled);
}

std::unique_ptr<Downlink> MakeSignDownlink(const LinkContext& context, const LinkTensors& tensors,
                                           bool scaled) {
  return std::make_unique<SignDownlink>(context, tensors, scaled);
}

}  // namespace thinwire
