// Top-K's messages from device memory to device memory, where their lengths are known beforehand:
// of one server for the whole vector, or of one rank. Nobody waits for the values, so a step can be
// one piece of work.
//
// Uplink, from each rank to the server: K values, and behind them their K indices (int32), as the
// selection leaves them. Downlink: the same from the server to all. Paper bits: 64 an element.
//
// A message of another rank is not trusted: before anything is done with its indices the device
// looks whether they rise within the vector (FiniteChecks).
#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <vector>

#include "kernels/error.h"
#include "optim/links.h"
#include "optim/sparse_coding.h"
#include "optim/sparse_link.h"

namespace thinwire {
namespace {

constexpr int kServer = 0;
constexpr int64_t kAlignment =
    16;  // of values and of indices, so that kernels read 16 bytes at once

int64_t Padded(int64_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

/// A message's place in device memory.
struct DeviceMessage {
  DeviceMessage(View bytes, int64_t count, DataType type)
      : values{bytes.data, count, type},
        indices{bytes.as<std::byte>() + Padded(values.size * SizeOf(type)), count,
                DataType::kInt32} {}
  static int64_t Bytes(int64_t count, DataType type) {
    return Padded(count * SizeOf(type)) + Padded(count * SizeOf(DataType::kInt32));
  }

  View values, indices;
};

/// What both directions share.
class DeviceSparseLink {
 protected:
  DeviceSparseLink(const LinkContext& context, const LinkTensors& tensors)
      : context_(context),
        tensors_(tensors),
        k_(ChosenCount(context.options, tensors)),
        bytes_(DeviceMessage::Bytes(k_, context.type())) {}

  Device& device() const { return context_.device(); }
  bool is_server() const { return context_.communicator.rank() == kServer; }
  bool is_alone() const { return context_.communicator.size() == 1; }
  int64_t paper_bits() const { return 64 * k_; }
  int64_t coded_bits() const {
    return 8 * k_ * (SizeOf(context_.type()) + SizeOf(DataType::kInt32));
  }
  DeviceMessage MessageAt(const Buffer& buffer, int64_t number) const {
    return {buffer.view(DataType::kUint8).Slice(number * bytes_, bytes_), k_, context_.type()};
  }
  std::unique_ptr<TopK> MakeTopK() const {
    return device().MakeTopK({.size = context_.arena.padded_size(),
                              .ranges = tensors_.ranges,
                              .k = k_,
                              .type = context_.type()});
  }
  void Add(const DeviceMessage& message, double factor, View y) const {
    device().ScatterAdd(message.indices, message.values, factor, y);
  }

  void CheckOwn(const DeviceMessage& message) const {
    context_.checks.Check(message.values, [this](int64_t) { ThrowNonFiniteGradient(context_); });
  }
  void CheckReceived(const DeviceMessage& message, int sender) const {
    const Range all{0, context_.arena.padded_size()};
    context_.checks.CheckMessage(
        message.indices, message.values, all,
        [this, message, sender](int64_t place) { ThrowMalformed(message, sender, place); });
  }

  const LinkContext context_;
  const LinkTensors tensors_;
  const int64_t k_, bytes_;

 private:
  [[noreturn]] void ThrowMalformed(const DeviceMessage& message, int sender, int64_t place) const {
    int32_t index = 0, before = -1;
    device().CopyToHost(message.indices.Slice(place, 1), &index);
    if (place > 0) device().CopyToHost(message.indices.Slice(place - 1, 1), &before);
    const int64_t size = context_.arena.padded_size();
    const char* const problem = index < 0 || index >= size ? "an index beyond its range"
                                : index <= before          ? "indices that do not rise"
                                                           : "a value that is NaN or infinite";
    throw Error(
        fmt::format("step {}: rank {}'s message is malformed: it holds {}, at place {} of {}",
                    context_.step, sender, problem, place, k_),
        "the checkpoints are intact; try a smaller --lr if it is a value, or look at that rank's "
        "build and memory");
  }
};

class DeviceSparseUplink : public Uplink, private DeviceSparseLink {
 public:
  DeviceSparseUplink(const LinkContext& context, const LinkTensors& tensors)
      : DeviceSparseLink(context, tensors),
        top_k_(MakeTopK()),
        sent_buffer_(device().Allocate(bytes_)),
        sent_(MessageAt(sent_buffer_, 0)) {
    const int ranks = context.communicator.size();
    sending_.assign(static_cast<size_t>(ranks), 0);
    receiving_.assign(static_cast<size_t>(ranks), 0);
    if (!is_server()) {
      sending_[kServer] = bytes_;
      return;
    }
    std::fill(receiving_.begin() + 1, receiving_.end(), bytes_);
    received_buffer_ = device().Allocate(bytes_ * (ranks - 1));
    for (int rank = 1; rank < ranks; ++rank) {
      received_.push_back(MessageAt(received_buffer_, rank - 1));
    }
  }

  void Send(const CompressionInput& v) override {
    Choose(v, {}, 0);
    Exchange();
  }

  void SendDifference(const CompressionInput& v, View state) override {
    Choose(v, state, -1);
    Apply(1, state);
    Exchange();
  }

  void SendSum(const CompressionInput& v, View error) override {
    {
      PhaseTimer timer(context_.costs.compress);
      for (const Range& range : tensors_.ranges) {
        device().Evaluate(Slice(v, range), 1, Slice(error, range));
      }
    }
    Choose({.values = error}, {}, 0);
    Apply(-1, error);
    Exchange();
  }

  void Mean(bool add, View y) override {
    if (!is_server()) return;
    PhaseTimer timer(context_.costs.decode);
    if (!add) {
      for (const Range& range : tensors_.ranges) device().Zero(Slice(y, range));
    }
    const double share = 1.0 / context_.communicator.size();
    Add(sent_, share, y);
    for (const DeviceMessage& message : received_) Add(message, share, y);
  }

  void AddOwn(double factor, View y) override { Add(sent_, factor, y); }

 private:
  void Choose(const CompressionInput& v, ConstView state, int state_factor) {
    PhaseTimer timer(context_.costs.compress);
    top_k_->Select(v, state, state_factor, sent_.indices, sent_.values);
    CheckOwn(sent_);
  }

  void Apply(double factor, View state) {
    PhaseTimer timer(context_.costs.compress);
    Add(sent_, factor, state);
  }

  void Exchange() {
    context_.costs.paper_bits_up += paper_bits();
    context_.costs.coded_bits_up += coded_bits();
    if (is_alone()) return;
    PhaseTimer timer(context_.costs.wire);
    context_.communicator.AllToAll(sent_buffer_.view(DataType::kUint8), sending_,
                                   received_buffer_.view(DataType::kUint8), receiving_,
                                   Purpose::kUplink);
    for (size_t i = 0; i < received_.size(); ++i) {
      CheckReceived(received_[i], static_cast<int>(i) + 1);
    }
  }

  const std::unique_ptr<TopK> top_k_;
  const Buffer sent_buffer_;
  Buffer received_buffer_;
  const DeviceMessage sent_;
  std::vector<DeviceMessage> received_;       // the server's: of ranks 1, 2, …
  std::vector<int64_t> sending_, receiving_;  // bytes, of each rank; the server's own stays
};

class DeviceSparseDownlink : public Downlink, private DeviceSparseLink {
 public:
  DeviceSparseDownlink(const LinkContext& context, const LinkTensors& tensors)
      : Downlink(context),
        DeviceSparseLink(context, tensors),
        top_k_(is_server() ? MakeTopK() : nullptr),
        buffer_(device().Allocate(bytes_)),
        message_(MessageAt(buffer_, 0)) {}

  void Send(ConstView v) override {
    Choose(v, {}, 0);
    Broadcast();
  }

  void SendDifference(ConstView v, View target) override {
    Choose(v, target, -1);
    Broadcast();
  }

  void SendError(View error) override {
    Choose(error, {}, 0);
    if (is_server()) {
      PhaseTimer timer(context_.costs.compress);
      Add(message_, -1, error);
    }
    Broadcast();
  }

  void Receive(View y, const RangeWork& then) override {
    {
      PhaseTimer timer(costs().decode);
      for (const Range& range : tensors_.ranges) device().Zero(Slice(y, range));
      Add(message_, 1, y);
    }
    if (then) then({0, y.size});
  }

  void ReceiveAdd(double factor, View y, const RangeWork& then) override {
    {
      PhaseTimer timer(costs().decode);
      Add(message_, factor, y);
    }
    if (then) then({0, y.size});
  }

 private:
  using DeviceSparseLink::context_;

  StepCosts& costs() const { return context_.costs; }

  void Choose(ConstView v, ConstView state, int state_factor) {
    if (!is_server()) return;
    PhaseTimer timer(costs().compress);
    top_k_->Select({.values = v}, state, state_factor, message_.indices, message_.values);
    CheckOwn(message_);
  }

  void Broadcast() {
    costs().paper_bits_down += paper_bits();
    costs().coded_bits_down += coded_bits();
    if (is_alone()) return;
    PhaseTimer timer(costs().wire);
    context_.communicator.Broadcast(buffer_.view(DataType::kUint8), kServer, Purpose::kDownlink);
    if (!is_server()) CheckReceived(message_, kServer);
  }

  const std::unique_ptr<TopK> top_k_;  // the server's
  const Buffer buffer_;
  const DeviceMessage message_;
};

}  // namespace

std::unique_ptr<Uplink> MakeDeviceSparseUplink(const LinkContext& context,
                                               const LinkTensors& tensors) {
  return std::make_unique<DeviceSparseUplink>(context, tensors);
}

std::unique_ptr<Downlink> MakeDeviceSparseDownlink(const LinkContext& context,
                                                   const LinkTensors& tensors) {
  return std::make_unique<DeviceSparseDownlink>(context, tensors);
}

}  // namespace thinwire
