// The order of work where a message holds some elements, chosen, and their values.
#pragma once

#include "optim/links.h"

namespace thinwire {

class ChoosingUplink : public Uplink {
 public:
  void Send(const CompressionInput& v) override {
    Choose(v, {}, 0);
    Exchange();
  }

  void SendDifference(const CompressionInput& v, View state) override {
    Choose(v, state, -1);
    AddChosen(1, state);
    Exchange();
  }

  void SendSum(const CompressionInput& v, View error) override {
    {
      PhaseTimer timer(context_.costs.compress);
      for (const Range& range : tensors_.ranges) {
        context_.device().Evaluate(Slice(v, range), 1, Slice(error, range));
      }
    }
    Choose({.values = error}, {}, 0);
    AddChosen(-1, error);
    Exchange();
  }

 protected:
  ChoosingUplink(const LinkContext& context, const LinkTensors& tensors)
      : context_(context), tensors_(tensors) {}

  /// Of v + state_factor * state, as TopK::Select.
  virtual void Choose(const CompressionInput& v, ConstView state, int state_factor) = 0;
  /// Sends to the servers what was chosen, and receives what other workers chose.
  virtual void Exchange() = 0;

  const LinkContext context_;
  const LinkTensors tensors_;

 private:
  void AddChosen(double factor, View y) {
    PhaseTimer timer(context_.costs.compress);
    AddOwn(factor, y);
  }
};

class ChoosingDownlink : public Downlink {
 public:
  void Send(ConstView v) override {
    Choose(v, {}, 0);
    Exchange();
  }

  void SendDifference(ConstView v, View target) override {
    Choose(v, target, -1);
    Exchange();
  }

  void SendError(View error) override {
    Choose(error, {}, 0);
    {
      PhaseTimer timer(context_.costs.compress);
      AddChosen(-1, error);
    }
    Exchange();
  }

 protected:
  using Downlink::Downlink;

  virtual void Choose(ConstView v, ConstView state, int state_factor) = 0;
  /// y += factor * what was chosen of this rank's shard, of which y is.
  virtual void AddChosen(double factor, View y) = 0;
  /// Sends what was chosen, now or when it is asked for.
  virtual void Exchange() = 0;
};

}  // namespace thinwire
