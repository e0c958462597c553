// The identity compressor: values in full precision.
//
// Uplink: each worker sends each server its shard's elements, packed one range behind the other.
// Downlink: servers' packed elements, gathered. Paper bits: 32 an element.
#include <numeric>

#include "optim/links.h"

namespace thinwire {
namespace {

/// A run of elements that lie together in the arena and in the packed vector.
struct Piece {
  Range in_arena;
  int64_t packed = 0;  // offset
};

/// Where the elements of some tensors go in a packed vector: in arena order, so that the elements
/// of a shard lie together.
struct Packing {
  Packing(const LinkTensors& tensors, const Shards& shards) {
    for (int rank = 0; rank < shards.ranks(); ++rank) {
      first_piece.push_back(pieces.size());
      const int64_t start = size;
      for (const Range& range : tensors.ranges) {
        const Range part{std::max(range.begin, shards[rank].begin),
                         std::min(range.end, shards[rank].end)};
        if (part.begin >= part.end) continue;
        pieces.push_back({part, size});
        size += part.size();
      }
      starts.push_back(start);
      counts.push_back(size - start);
    }
    first_piece.push_back(pieces.size());
  }
  std::span<const Piece> of_shard(int rank) const {
    const auto r = static_cast<size_t>(rank);
    return {pieces.data() + first_piece[r], first_piece[r + 1] - first_piece[r]};
  }

  std::vector<Piece> pieces;
  std::vector<size_t> first_piece;      // of each shard, and the end
  std::vector<int64_t> starts, counts;  // of each shard, in the packed vector
  int64_t size = 0;
};

class DenseUplink : public Uplink {
 public:
  DenseUplink(const LinkContext& context, const LinkTensors& tensors)
      : context_(context),
        packing_(tensors, context.shards),
        paper_bits_(32 * tensors.count),
        rank_(static_cast<size_t>(context.communicator.rank())),
        own_count_(packing_.counts[rank_]) {
    const int64_t element = SizeOf(context.type());
    packed_ = device().Allocate(packing_.size * element);
    parts_ = device().Allocate(own_count_ * ranks() * element);
    mean_ = device().Allocate(own_count_ * element);
  }

  void Send(const CompressionInput& v) override {
    {
      PhaseTimer timer(context_.costs.compress);
      for (const Piece& piece : packing_.pieces) {
        device().Evaluate(Slice(v, piece.in_arena), 0, Packed(piece));
      }
    }
    Exchange();
  }

  void SendDifference(const CompressionInput& v, View state) override {
    {
      PhaseTimer timer(context_.costs.compress);
      for (const Piece& piece : packing_.pieces) {
        const View part = Slice(state, piece.in_arena), packed = Packed(piece);
        device().Copy(part, packed);
        device().Evaluate(Slice(v, piece.in_arena), -1, packed);
        device().Evaluate({.values = packed}, 1, part);
      }
    }
    Exchange();
  }

  void SendSum(const CompressionInput& v, View error) override {
    {
      PhaseTimer timer(context_.costs.compress);
      for (const Piece& piece : packing_.pieces) {
        const View part = Slice(error, piece.in_arena), packed = Packed(piece);
        device().Copy(part, packed);
        device().Evaluate(Slice(v, piece.in_arena), 1, packed);
        device().Zero(part);
      }
    }
    Exchange();
  }

  void Mean(bool add, View y) override {
    PhaseTimer timer(context_.costs.decode);
    const View mean = mean_.view(context_.type()).Slice(0, own_count_);
    device().SumParts(parts_.view(context_.type()).Slice(0, own_count_ * ranks()),
                      1.0 / static_cast<double>(ranks()), mean);
    const int64_t shard_begin = context_.own_shard().begin;
    for (const Piece& piece : packing_.of_shard(static_cast<int>(rank_))) {
      const int64_t count = piece.in_arena.size();
      const View from = mean.Slice(piece.packed - packing_.starts[rank_], count);
      device().Evaluate({.values = from}, add ? 1 : 0,
                        y.Slice(piece.in_arena.begin - shard_begin, count));
    }
  }

  void AddOwn(double factor, View y) override {
    for (const Piece& piece : packing_.pieces) {
      device().Evaluate({.values = Packed(piece), .factor = factor}, 1, Slice(y, piece.in_arena));
    }
  }

 private:
  Device& device() const { return context_.device(); }
  int64_t ranks() const { return context_.communicator.size(); }
  View Packed(const Piece& piece) const {
    return packed_.view(context_.type()).Slice(piece.packed, piece.in_arena.size());
  }

  void Exchange() {
    const View packed = packed_.view(context_.type()).Slice(0, packing_.size);
    context_.checks.Check(packed, [this](int64_t) { ThrowNonFiniteGradient(context_); });
    PhaseTimer timer(context_.costs.wire);
    const std::vector<int64_t> incoming(static_cast<size_t>(ranks()), own_count_);
    context_.communicator.AllToAll(packed, packing_.counts, parts_.view(context_.type()), incoming,
                                   Purpose::kUplink);
    context_.costs.paper_bits_up += paper_bits_;
    context_.costs.coded_bits_up += paper_bits_;
  }

  const LinkContext context_;
  const Packing packing_;
  const int64_t paper_bits_;
  const size_t rank_;
  const int64_t own_count_;
  Buffer packed_, parts_, mean_;
};

class DenseDownlink : public Downlink {
 public:
  DenseDownlink(const LinkContext& context, const LinkTensors& tensors)
      : Downlink(context),
        packing_(tensors, context.shards),
        paper_bits_(32 * tensors.count),
        packed_(context.device().Allocate(packing_.size * SizeOf(context.type()))) {}

  void Send(ConstView v) override {
    ForOwnPieces([&](const Range& range, View packed) {
      device().Evaluate({.values = Slice(v, range)}, 0, packed);
    });
    Gather();
  }

  void SendDifference(ConstView v, View target) override {
    ForOwnPieces([&](const Range& range, View packed) {
      device().Copy(Slice(target, range), packed);
      device().Evaluate({.values = Slice(v, range)}, -1, packed);
    });
    Gather();
  }

  void SendError(View error) override {
    ForOwnPieces([&](const Range& range, View packed) {
      device().Copy(Slice(error, range), packed);
      device().Zero(Slice(error, range));
    });
    Gather();
  }

  void Receive(View y, const RangeWork& then) override {
    {
      PhaseTimer timer(context_.costs.decode);
      for (const Piece& piece : packing_.pieces) {
        device().Copy(Packed(piece), Slice(y, piece.in_arena));
      }
    }
    if (then) then({0, y.size});
  }

  void ReceiveAdd(double factor, View y, const RangeWork& then) override {
    {
      PhaseTimer timer(context_.costs.decode);
      // An update, so that y stays as it is once something that is not finite has been found.
      const MomentumUpdate add{.common = {.learning_rate = -factor}};
      for (const Piece& piece : packing_.pieces) {
        device().Update(add, Packed(piece), {}, Slice(y, piece.in_arena));
      }
    }
    if (then) then({0, y.size});
  }

 private:
  Device& device() const { return context_.device(); }
  View Packed(const Piece& piece) const {
    return packed_.view(context_.type()).Slice(piece.packed, piece.in_arena.size());
  }

  /// Calls function(range within the shard, its place in the packed vector).
  template <typename Function>
  void ForOwnPieces(const Function& function) {
    PhaseTimer timer(context_.costs.compress);
    const int64_t begin = context_.own_shard().begin;
    for (const Piece& piece : packing_.of_shard(context_.communicator.rank())) {
      function(Range{piece.in_arena.begin - begin, piece.in_arena.end - begin}, Packed(piece));
    }
  }

  void Gather() {
    PhaseTimer timer(context_.costs.wire);
    const auto rank = static_cast<size_t>(context_.communicator.rank());
    const View packed = packed_.view(context_.type()).Slice(0, packing_.size);
    context_.communicator.AllGather(packed.Slice(packing_.starts[rank], packing_.counts[rank]),
                                    packed, packing_.counts, Purpose::kDownlink);
    context_.costs.paper_bits_down += paper_bits_;
    context_.costs.coded_bits_down += paper_bits_;
  }

  const Packing packing_;
  const int64_t paper_bits_;
  Buffer packed_;
};

}  // namespace

std::unique_ptr<Uplink> MakeDenseUplink(const LinkContext& context, const LinkTensors& tensors) {
  return std::make_unique<DenseUplink>(context, tensors);
}

std::unique_ptr<Downlink> MakeDenseDownlink(const LinkContext& context,
                                            const LinkTensors& tensors) {
  return std::make_unique<DenseDownlink>(context, tensors);
}

}  // namespace thinwire
