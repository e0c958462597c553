#include "optim/measured_links.h"

#include <numeric>

namespace thinwire {
namespace {

double SumOfSquares(Device& device, ConstView v) {
  Buffer result = device.Allocate(SizeOf(DataType::kFloat64));
  device.SumOfSquares(v, result.view(DataType::kFloat64));
  double sum = 0;
  device.CopyToHost(result.view(DataType::kFloat64), &sum);
  return sum;
}

/// 1 - |C(v) - v|² / |v|²; of a vector of zeros, which every compressor keeps, 1.
double Contraction(double error, double norm) { return norm == 0 ? 1 : 1 - error / norm; }

class MeasuredUplink : public Uplink {
 public:
  MeasuredUplink(const LinkContext& context, const bool& measure, std::unique_ptr<Uplink> link)
      : context_(context), measure_(measure), link_(std::move(link)) {}

  void Send(const CompressionInput& v) override {
    if (measure_) {
      Allocate();
      device().Evaluate(v, 0, v_);
    }
    link_->Send(v);
    if (measure_) Measure();
  }
  void SendDifference(const CompressionInput& v, View state) override {
    if (measure_) Remember(v, state, -1);
    link_->SendDifference(v, state);
    if (measure_) Measure();
  }
  void SendSum(const CompressionInput& v, View error) override {
    if (measure_) Remember(v, error, 1);
    link_->SendSum(v, error);
    if (measure_) Measure();
  }
  void Settle() override { link_->Settle(); }
  void Mean(bool add, View y) override { link_->Mean(add, y); }
  std::span<const SignMessage> sign_messages() const override { return link_->sign_messages(); }
  void AddOwn(double factor, View y) override { link_->AddOwn(factor, y); }

 private:
  Device& device() const { return context_.device(); }
  void Allocate() {
    if (buffer_) return;
    const int64_t size = context_.arena.padded_size();
    buffer_ = device().Allocate(size * SizeOf(context_.type()));
    v_ = buffer_.view(context_.type()).Slice(0, size);
  }
  void Remember(const CompressionInput& v, View state, double factor) {
    Allocate();
    link_->Settle();
    device().Copy(state, v_);
    device().Evaluate(v, factor, v_);
  }
  void Measure() {
    const double norm = SumOfSquares(device(), v_);
    link_->AddOwn(-1, v_);
    context_.costs.squares_up = norm;
    context_.costs.contraction_up = Contraction(SumOfSquares(device(), v_), norm);
  }

  const LinkContext context_;
  const bool& measure_;
  std::unique_ptr<Uplink> link_;
  Buffer buffer_;
  View v_{};
};

class MeasuredDownlink : public Downlink {
 public:
  MeasuredDownlink(const LinkContext& context, const bool& measure, std::unique_ptr<Downlink> link)
      : Downlink(context), measure_(measure), link_(std::move(link)) {}

  void Send(ConstView v) override {
    if (measure_) Remember(v, {});
    link_->Send(v);
    if (measure_) Measure();
  }
  void SendDifference(ConstView v, View target) override {
    if (measure_) Remember(v, target);
    link_->SendDifference(v, target);
    if (measure_) Measure();
  }
  void SendError(View error) override {
    if (measure_) Remember(error, {});
    link_->SendError(error);
    if (measure_) Measure();
  }
  void Settle() override { link_->Settle(); }
  // The fused passes never show the vector that they compress.
  void SendMeanDifference(Uplink& uplink, View estimate, View target) override {
    if (measure_) return Downlink::SendMeanDifference(uplink, estimate, target);
    link_->SendMeanDifference(uplink, estimate, target);
  }
  void SendMeanError(Uplink& uplink, View error) override {
    if (measure_) return Downlink::SendMeanError(uplink, error);
    link_->SendMeanError(uplink, error);
  }
  void Receive(View y, const RangeWork& then) override { link_->Receive(y, then); }
  void ReceiveAdd(double factor, View y, const RangeWork& then) override {
    link_->ReceiveAdd(factor, y, then);
  }
  void ReceiveAndUpdate(const AdamUpdate& update, View estimate, View momentum, View variance,
                        View max_variance, View x) override {
    link_->ReceiveAndUpdate(update, estimate, momentum, variance, max_variance, x);
  }

 private:
  Device& device() const { return context_.device(); }
  void Remember(ConstView v, ConstView minus) {
    const int64_t size = context_.arena.padded_size(), element = SizeOf(context_.type());
    if (!buffer_) buffer_ = device().Allocate(size * element);
    const View own = Slice(Whole(), context_.own_shard());
    device().Evaluate({.values = v}, 0, own);
    if (minus) device().Evaluate({.values = minus, .factor = -1}, 1, own);
  }
  void Measure() {
    const View own = Slice(Whole(), context_.own_shard());
    const double norm = SumOfSquaresOverShards(context_, own);
    link_->ReceiveAdd(-1, Whole());
    context_.costs.squares_down = norm;
    context_.costs.contraction_down = Contraction(SumOfSquaresOverShards(context_, own), norm);
  }
  View Whole() const {
    return buffer_.view(context_.type()).Slice(0, context_.arena.padded_size());
  }

  const bool& measure_;
  std::unique_ptr<Downlink> link_;
  Buffer buffer_;  // laid out as the arena; only this rank's shard counts
};

}  // namespace

std::unique_ptr<Uplink> MeasureUplink(const LinkContext& context, const bool& measure,
                                      std::unique_ptr<Uplink> link) {
  return std::make_unique<MeasuredUplink>(context, measure, std::move(link));
}

std::unique_ptr<Downlink> MeasureDownlink(const LinkContext& context, const bool& measure,
                                          std::unique_ptr<Downlink> link) {
  return std::make_unique<MeasuredDownlink>(context, measure, std::move(link));
}

double SumOfSquaresOverShards(const LinkContext& context, ConstView v) {
  const auto sums = context.communicator.AllGatherHost(SumOfSquares(context.device(), v));
  return std::accumulate(sums.begin(), sums.end(), 0.0);
}

}  // namespace thinwire
