// How a trainer evaluates: with the ranks' running statistics averaged, each rank a part of the
// test set.
#include <vector>

#include "train/trainer.h"

namespace thinwire {

void Trainer::WithAverageStatistics(View state, const std::function<void()>& body) {
  if (rank_.alone() || state.size == 0) {
    body();
    return;
  }
  // Each rank's own go on afterwards.
  const View own = own_state_.view(state.type);
  device_.Copy(state, own);
  communicator_.AllReduce(state, 1.0 / communicator_.size(), Purpose::kMeasurement);
  body();
  device_.Copy(own, state);
}

Evaluation Trainer::EvaluateTestSet() {
  PipelineOptions options = MakePipelineOptions();
  options.batch_size = settings_.eval_batch_size.value_or(*settings_.batch_size);
  Evaluation evaluation;
  WithAverageStatistics(arena_.state(), [&] {
    evaluation = Evaluate(device_, test_network_, images_.test, options, &communicator_);
  });
  return evaluation;
}

Evaluation Trainer::EvaluateAverage() {
  // The evaluation network reads the arena, so the averages take its place for a while.
  const auto swap_with_arena = [this](View view, Buffer& average) {
    std::vector<float> values(static_cast<size_t>(view.size));
    device_.CopyToHost(view, values.data());
    device_.Copy(average.view(), view);
    device_.CopyFromHost(values.data(), average.view());
  };
  const auto swap = [&] {
    swap_with_arena(arena_.values(), average_values_);
    swap_with_arena(arena_.state(), average_state_);
    arena_.RoundValues();
  };
  swap();
  const Evaluation evaluation = EvaluateTestSet();
  swap();
  return evaluation;
}

}  // namespace thinwire
