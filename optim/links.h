// The two halves of a step on the wire: workers' messages up to the servers, servers' messages down
// to the workers. A link is a compressor together with the state that its messages update and the
// collectives that carry them.
//
// Worker vectors are laid out as the arena. A server's vectors are this rank's shard of it: views
// of shards[rank].size() elements. Messages cover the tensors that the link was made for; other
// elements are neither read nor written.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "kernels/compression.h"
#include "kernels/finite_checks.h"
#include "kernels/parameter_arena.h"
#include "kernels/trace_range.h"
#include "optim/optimizer.h"
#include "optim/shards.h"

namespace thinwire {

/// What links work with; it outlives them.
struct LinkContext {
  const OptimizerOptions& options;
  ParameterArena& arena;
  Communicator& communicator;
  const Shards& shards;
  StepCosts& costs;
  const int64_t& step;  // of the messages, counted from 1
  FiniteChecks& checks;

  Device& device() const { return arena.device(); }
  DataType type() const { return arena.type(); }
  const Range& own_shard() const { return shards[communicator.rank()]; }
};

/// What a worker sends: C(·), its compressor's message.
///
/// @throws Error from every Send that names the gradient's tensor if it is NaN or Inf, before
///     anything is sent, and one that names the rank whose message is malformed.
class Uplink {
 public:
  virtual ~Uplink() = default;

  /// Sends C(v).
  virtual void Send(const CompressionInput& v) = 0;
  /// Markov compression: sends c = C(v - state); state += c, which may wait until Settle or the
  /// next message.
  virtual void SendDifference(const CompressionInput& v, View state) = 0;
  /// Error feedback: p = error + v; sends q = C(p); error = p - q, which may wait likewise.
  virtual void SendSum(const CompressionInput& v, View error) = 0;
  /// Makes up for updates that wait.
  virtual void Settle() {}

  /// Servers: y = mean of the workers' last messages, or y += it. `y` is of the shard.
  virtual void Mean(bool add, View y) = 0;
  /// Servers: the messages as packed signs of the shard, for fused passes; empty if they are none.
  virtual std::span<const SignMessage> sign_messages() const { return {}; }

  /// y += factor * this worker's own last message.
  virtual void AddOwn(double factor, View y) = 0;
};

/// What servers send: S(·), each its shard's part, which every rank receives and decodes alike. A
/// scale or a choice that C takes over the whole vector is taken over the whole vector here too.
class Downlink {
 public:
  virtual ~Downlink() = default;

  /// Sends S(v).
  virtual void Send(ConstView v) = 0;
  /// Markov compression: sends S(v - target); `target` follows when the servers, who are workers
  /// too, receive the message.
  virtual void SendDifference(ConstView v, View target) = 0;
  /// Error feedback: sends q = S(error); error -= q, which may wait until Settle or the next
  /// message.
  virtual void SendError(View error) = 0;
  virtual void Settle() {}

  // The same behind a mean of the workers' messages; a link may do both in one pass.
  /// Sends S(mean).
  void SendMean(Uplink& uplink, View scratch);
  /// estimate += mean; sends S(estimate - target).
  virtual void SendMeanDifference(Uplink& uplink, View estimate, View target);
  /// error += mean; sends q = S(error); error -= q.
  virtual void SendMeanError(Uplink& uplink, View error);

  // Workers, of the last message q, decoded. `y` is laid out as the arena.
  /// y = q. `then`, if any, is called with ranges that cover the arena, once y is q there: while
  /// the wire still carries other parts, if the link can do so.
  using RangeWork = std::function<void(const Range&)>;
  virtual void Receive(View y, const RangeWork& then = {}) = 0;
  /// y += factor * q, and `then` likewise.
  virtual void ReceiveAdd(double factor, View y, const RangeWork& then = {}) = 0;
  /// estimate += q, then the update with the estimate as gradient, over the whole arena.
  virtual void ReceiveAndUpdate(const AdamUpdate& update, View estimate, View momentum,
                                View variance, View max_variance, View x);

 protected:
  explicit Downlink(const LinkContext& context) : context_(context) {}

  const LinkContext context_;
};

/// A set of tensors: ranges of the arena, rising, and the number of elements that count.
struct LinkTensors {
  std::vector<Range> ranges;
  int64_t count = 0;
};

/// Parts of a shard that are decoded by themselves while other parts are still on the wire: small
/// enough that a thin wire is not kept waiting, and large enough that starting threads for each
/// does not show.
std::vector<Range> SlicesOf(const Range& shard);

/// The whole arena, padding included, as one range.
LinkTensors WholeArena(const ParameterArena& arena);

/// The links of the options: `compressor` over the tensors that are not named by
/// uncompressed_tensors, and full precision over those.
/// @param compressor sign, topk, randk, identity, or "vote": the sign without a scale.
std::unique_ptr<Uplink> MakeUplink(const LinkContext& context, const std::string& compressor);
std::unique_ptr<Downlink> MakeDownlink(const LinkContext& context, const std::string& compressor);

// One compressor over some tensors.
std::unique_ptr<Uplink> MakeSignUplink(const LinkContext&, const LinkTensors&, bool scaled);
std::unique_ptr<Downlink> MakeSignDownlink(const LinkContext&, const LinkTensors&, bool scaled);
std::unique_ptr<Uplink> MakeSparseUplink(const LinkContext&, const LinkTensors&, bool random);
std::unique_ptr<Downlink> MakeSparseDownlink(const LinkContext&, const LinkTensors&, bool random);
/// Top-K of plain indices and full values, from device memory to device memory.
std::unique_ptr<Uplink> MakeDeviceSparseUplink(const LinkContext&, const LinkTensors&);
std::unique_ptr<Downlink> MakeDeviceSparseDownlink(const LinkContext&, const LinkTensors&);
std::unique_ptr<Uplink> MakeDenseUplink(const LinkContext&, const LinkTensors&);
std::unique_ptr<Downlink> MakeDenseDownlink(const LinkContext&, const LinkTensors&);

/// @param index Of the first NaN or Inf of the gradients; -1 if they are finite.
/// @throws Error that names the tensor there, this rank and the step.
[[noreturn]] void ThrowNonFiniteGradient(const LinkContext& context, int64_t index);
/// The same of the gradients as they are now.
[[noreturn]] void ThrowNonFiniteGradient(const LinkContext& context);

/// `input` for elements [range.begin, range.end) of it.
CompressionInput Slice(const CompressionInput& input, const Range& range);
inline View Slice(View view, const Range& range) { return view.Slice(range.begin, range.size()); }
inline ConstView Slice(ConstView view, const Range& range) {
  return view.Slice(range.begin, range.size());
}
/// A view of the same memory as bytes.
inline View AsBytes(View view) {
  return {view.data, view.size * SizeOf(view.type), DataType::kUint8};
}
inline ConstView AsBytes(ConstView view) {
  return {view.data, view.size * SizeOf(view.type), DataType::kUint8};
}

/// Adds the time of its life to one of StepCosts' seconds, less that of timers within it, and shows
/// it to profilers.
class PhaseTimer {
 public:
  template <StepPhase kPhase>
  explicit PhaseTimer(PhaseSeconds<kPhase>& seconds) : PhaseTimer(kPhase, seconds.value) {}
  ~PhaseTimer();

 private:
  PhaseTimer(StepPhase phase, double& seconds);

  const TraceRange range_;
  double& seconds_;
  double start_ = 0, inner_ = 0;
  PhaseTimer* const outer_;  // of the same thread
};

/// While it lives, this thread's PhaseTimers wait for the device at both ends: they then show the
/// work's time, not that of its enqueueing, which costs the overlap of the two. For benchmarks.
class SynchronizedPhases {
 public:
  explicit SynchronizedPhases(Device& device);
  ~SynchronizedPhases();
  SynchronizedPhases(const SynchronizedPhases&) = delete;
  SynchronizedPhases& operator=(const SynchronizedPhases&) = delete;
};

}  // namespace thinwire
