// What the compressed methods share: their links, and the gradient that a worker starts from.
#pragma once

#include <memory>
#include <string>

#include "optim/arena_optimizer.h"
#include "optim/links.h"

namespace thinwire {

/// A step in two halves: all that is sent, which can start early, and what becomes of it.
class CompressedOptimizer : public ArenaOptimizer {
 public:
  void BeginStep(double learning_rate) override { learning_rate_ = learning_rate; }
  /// @param bucket The whole arena: a method's messages are of all of it (see BucketedOptimizer).
  void StartEarly(const Range& bucket) override;
  void Step(double learning_rate, ConstView gradient_scale) override;
  std::vector<OptimizerState> state() override;

 protected:
  /// The workers' messages to the servers, and the servers' to the workers, as far as nobody has to
  /// decode them.
  virtual void Send(double learning_rate, ConstView gradient_scale) = 0;
  /// Every worker: decodes the servers' messages, and updates parameters by them. Nothing before
  /// this changes the parameters.
  virtual void Receive(double learning_rate) = 0;

  /// What a method does unless the options say otherwise.
  struct Usual {
    std::string compressor = "sign";
    bool single_way = false;
  };
  CompressedOptimizer(const OptimizerOptions& options, ParameterArena& arena,
                      Communicator& communicator, const Usual& usual);

  /// ∇f_i(x), clipped, with weight decay if it is the worker's.
  CompressionInput Gradient(ConstView gradient_scale) const;
  /// A vector as it is, or times a factor.
  static CompressionInput Times(double factor, ConstView vector) {
    return {.values = vector, .factor = factor};
  }
  /// For updates of the whole group with what was received: weight decay only where it is not the
  /// worker's.
  UpdateCommon Common(const ParameterGroup& group, double learning_rate) const;
  /// This rank's shard of a vector laid out as the arena.
  View Shard(View vector) const { return Slice(vector, own_shard()); }
  /// Every group, one pass each: `update` with `gradient`, which every rank has alike.
  void UpdateWith(AdamUpdate& update, double learning_rate, View gradient, View momentum,
                  View variance, View max_variance);
  void UpdateWith(MomentumUpdate& update, double learning_rate, View gradient, View buffer);
  /// The same for a range of the arena.
  void UpdateWith(MomentumUpdate& update, double learning_rate, View gradient, View buffer,
                  const Range& range);
  /// The same behind `estimate` += what the servers sent, in one pass where that is possible.
  void ReceiveAndUpdate(AdamUpdate& update, double learning_rate, View estimate, View momentum,
                        View variance, View max_variance);
  /// Memory for a vector laid out as the arena, or for a shard of one, which is no state.
  View Scratch(int64_t size);

  bool single_way() const { return single_way_; }
  bool decays_at_worker() const { return decays_at_worker_; }
  Uplink& uplink() { return *uplink_; }
  Downlink& downlink() { return *downlink_; }

 private:
  bool single_way_, decays_at_worker_;
  double learning_rate_ = 0;    // of the next step
  bool started_early_ = false;  // the next step
  std::unique_ptr<Uplink> uplink_;
  std::unique_ptr<Downlink> downlink_;
  std::vector<Buffer> scratch_;
};

/// The paper form's or the corrected form's update, by the options.
AdamUpdate MakeAmsgradUpdate(const OptimizerOptions& options);

}  // namespace thinwire
