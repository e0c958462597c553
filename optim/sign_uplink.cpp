// A worker's messages of signs, one to each server.
#include <fmt/format.h>

#include "kernels/error.h"
#include "optim/sign_link.h"

namespace thinwire {
namespace {

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
    if (!scaled_) return;  // the scales are this rank's own
    for (size_t rank = 0; rank < messages_.size(); ++rank) {
      context_.checks.CheckMagnitudes(messages_[rank].scales, [this, rank](int64_t) {
        throw Error(fmt::format("step {}: a scale in rank {}'s message of signs is negative or not "
                                "a number",
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

}  // namespace

std::unique_ptr<Uplink> MakeSignUplink(const LinkContext& context, const LinkTensors& tensors,
                                       bool scaled) {
  return std::make_unique<SignUplink>(context, tensors, scaled);
}

}  // namespace thinwire
