#include "optim/links.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "comm/failure.h"
#include "kernels/error.h"

namespace thinwire {
namespace {

thread_local PhaseTimer* innermost_timer = nullptr;
/// SynchronizedPhases'; null: none.
thread_local Device* synchronized_device = nullptr;

const char* NameOf(StepPhase phase) {
  switch (phase) {
    case StepPhase::kCompress:
      return "compress";
    case StepPhase::kWire:
      return "wire";
    case StepPhase::kDecode:
      return "decode";
    case StepPhase::kUpdate:
      break;
  }
  return "update";
}

bool IsUncompressed(TensorRole role, const std::vector<std::string>& kinds) {
  const auto named = [&](const char* kind) {
    return std::find(kinds.begin(), kinds.end(), kind) != kinds.end();
  };
  return (role == TensorRole::kBias && named("bias")) ||
         ((role == TensorRole::kBatchNormScale || role == TensorRole::kBatchNormShift) &&
          named("bn"));
}

struct Partition {
  LinkTensors compressed, uncompressed;
};

Partition PartitionTensors(const LinkContext& context) {
  Partition partition;
  for (const Segment& segment : context.arena.segments()) {
    const bool whole = IsUncompressed(segment.spec.role, context.options.uncompressed_tensors);
    LinkTensors& tensors = whole ? partition.uncompressed : partition.compressed;
    tensors.ranges.push_back({segment.offset, segment.offset + segment.size});
    tensors.count += segment.size;
  }
  return partition;
}

/// Whether a sparse compressor's messages need not pass through the host: it could not read them
/// where they are, and has nothing to encode.
bool StaysOnDevice(const LinkContext& context, const std::string& compressor) {
  const OptimizerOptions& options = context.options;
  return !context.device().host_visible() && compressor == "topk" &&
         options.index_coding == "plain" && options.value_type == "f32";
}

/// Two links side by side, each over its tensors.
class MixedUplink : public Uplink {
 public:
  MixedUplink(std::unique_ptr<Uplink> a, std::unique_ptr<Uplink> b)
      : a_(std::move(a)), b_(std::move(b)) {}

  void Send(const CompressionInput& v) override {
    a_->Send(v);
    b_->Send(v);
  }
  void SendDifference(const CompressionInput& v, View state) override {
    a_->SendDifference(v, state);
    b_->SendDifference(v, state);
  }
  void SendSum(const CompressionInput& v, View error) override {
    a_->SendSum(v, error);
    b_->SendSum(v, error);
  }
  void Settle() override {
    a_->Settle();
    b_->Settle();
  }
  void Mean(bool add, View y) override {
    a_->Mean(add, y);
    b_->Mean(add, y);
  }
  void AddOwn(double factor, View y) override {
    a_->AddOwn(factor, y);
    b_->AddOwn(factor, y);
  }

 private:
  std::unique_ptr<Uplink> a_, b_;
};

class MixedDownlink : public Downlink {
 public:
  MixedDownlink(const LinkContext& context, std::unique_ptr<Downlink> a,
                std::unique_ptr<Downlink> b)
      : Downlink(context), a_(std::move(a)), b_(std::move(b)) {}

  void Send(ConstView v) override {
    a_->Send(v);
    b_->Send(v);
  }
  void SendDifference(ConstView v, View target) override {
    a_->SendDifference(v, target);
    b_->SendDifference(v, target);
  }
  void SendError(View error) override {
    a_->SendError(error);
    b_->SendError(error);
  }
  void Settle() override {
    a_->Settle();
    b_->Settle();
  }
  void Receive(View y, const RangeWork& then) override {
    a_->Receive(y);
    b_->Receive(y);
    if (then) then({0, y.size});
  }
  void ReceiveAdd(double factor, View y, const RangeWork& then) override {
    a_->ReceiveAdd(factor, y);
    b_->ReceiveAdd(factor, y);
    if (then) then({0, y.size});
  }

 private:
  std::unique_ptr<Downlink> a_, b_;
};

}  // namespace

void Downlink::ReceiveAndUpdate(const AdamUpdate& update, View estimate, View momentum,
                                View variance, View max_variance, View x) {
  const auto of = [](View view, const Range& range) { return view ? Slice(view, range) : view; };
  ReceiveAdd(1, estimate, [&](const Range& range) {
    PhaseTimer timer(context_.costs.update);
    AdamUpdate part = update;
    part.common.bfloat16_x = of(update.common.bfloat16_x, range);
    context_.device().Update(part, of(estimate, range), of(momentum, range), of(variance, range),
                             of(max_variance, range), of(x, range));
  });
}

void Downlink::SendMean(Uplink& uplink, View scratch) {
  uplink.Mean(false, scratch);
  Send(scratch);
}

void Downlink::SendMeanDifference(Uplink& uplink, View estimate, View target) {
  uplink.Mean(true, estimate);
  SendDifference(estimate, target);
}

void Downlink::SendMeanError(Uplink& uplink, View error) {
  Settle();
  uplink.Mean(true, error);
  SendError(error);
}

std::vector<Range> SlicesOf(const Range& shard) {
  constexpr int64_t kElements = int64_t{1} << 18;
  std::vector<Range> slices;
  for (int64_t begin = shard.begin; begin < shard.end; begin += kElements) {
    slices.push_back({begin, std::min(begin + kElements, shard.end)});
  }
  return slices;
}

LinkTensors WholeArena(const ParameterArena& arena) {
  return {{{0, arena.padded_size()}}, arena.parameter_count()};
}

std::unique_ptr<Uplink> MakeUplink(const LinkContext& context, const std::string& compressor) {
  if (compressor == "identity") return MakeDenseUplink(context, WholeArena(context.arena));
  const auto make = [&](const LinkTensors& tensors) {
    if (compressor == "sign" || compressor == "vote") {
      return MakeSignUplink(context, tensors, compressor == "sign");
    }
    if (StaysOnDevice(context, compressor)) return MakeDeviceSparseUplink(context, tensors);
    return MakeSparseUplink(context, tensors, compressor == "randk");
  };
  const auto [compressed, uncompressed] = PartitionTensors(context);
  if (uncompressed.count == 0) return make(compressed);
  if (compressed.count == 0) return MakeDenseUplink(context, uncompressed);
  return std::make_unique<MixedUplink>(make(compressed), MakeDenseUplink(context, uncompressed));
}

std::unique_ptr<Downlink> MakeDownlink(const LinkContext& context, const std::string& compressor) {
  if (compressor == "identity") return MakeDenseDownlink(context, WholeArena(context.arena));
  const auto make = [&](const LinkTensors& tensors) {
    if (compressor == "sign" || compressor == "vote") {
      return MakeSignDownlink(context, tensors, compressor == "sign");
    }
    if (StaysOnDevice(context, compressor)) return MakeDeviceSparseDownlink(context, tensors);
    return MakeSparseDownlink(context, tensors, compressor == "randk");
  };
  const auto [compressed, uncompressed] = PartitionTensors(context);
  if (uncompressed.count == 0) return make(compressed);
  if (compressed.count == 0) return MakeDenseDownlink(context, uncompressed);
  return std::make_unique<MixedDownlink>(context, make(compressed),
                                         MakeDenseDownlink(context, uncompressed));
}

void ThrowNonFiniteGradient(const LinkContext& context) {
  ThrowNonFiniteGradient(context, context.device().FirstNonFinite(context.arena.gradients()));
}

void ThrowNonFiniteGradient(const LinkContext& context, int64_t index) {
  const std::string where =
      fmt::format("step {}, rank {}: ", context.step, context.communicator.rank());
  const std::string remedy =
      "the checkpoints are intact; try a smaller --lr, --warmup-epochs 1 or --clip-grad 1";
  for (const Segment& segment : context.arena.segments()) {
    if (index >= segment.offset && index < segment.offset + segment.size) {
      throw Error(fmt::format("{}the gradient of {} is NaN or infinite at element {}", where,
                              segment.spec.name, index - segment.offset),
                  remedy);
    }
  }
  throw Error(where + "what the optimizer would send is NaN or infinite", remedy);
}

CompressionInput Slice(const CompressionInput& input, const Range& range) {
  CompressionInput part = input;
  part.values = Slice(input.values, range);
  if (input.parameters) part.parameters = Slice(input.parameters, range);
  if (input.added) part.added = Slice(input.added, range);
  part.decayed_size = std::clamp<int64_t>(input.decayed_size - range.begin, 0, range.size());
  return part;
}

PhaseTimer::PhaseTimer(StepPhase phase, double& seconds)
    : range_(TraceCategory::kPhase, NameOf(phase)),
      seconds_(seconds),
      outer_(std::exchange(innermost_timer, this)) {
  if (synchronized_device != nullptr) synchronized_device->Synchronize();
  start_ = MonotonicSeconds();
}

PhaseTimer::~PhaseTimer() {
  if (synchronized_device != nullptr) synchronized_device->Synchronize();
  const double life = MonotonicSeconds() - start_;
  seconds_ += life - inner_;
  if (outer_ != nullptr) outer_->inner_ += life;
  innermost_timer = outer_;
}

SynchronizedPhases::SynchronizedPhases(Device& device) { synchronized_device = &device; }
SynchronizedPhases::~SynchronizedPhases() { synchronized_device = nullptr; }

}  // namespace thinwire
