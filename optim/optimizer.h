// Optimizers: one file a method, each a few fused passes over the parameter arena, and between them
// the messages of the distributed ones.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "kernels/parameter_arena.h"

namespace thinwire {

/// Settings of all methods; each reads those that it knows. An empty optional is the method's own
/// usual value.
struct OptimizerOptions {
  std::string name = "momentum";  // one of OptimizerNames()
  /// momentum, nesterov, ef-sgdm, saef-sgdm: 0.9. rmsprop, rmspropw, signsgd: 0, that is none.
  /// ef21, ef21-bc and kin: 0; heavy ball on what the workers received. sgd, ef-sgd, saef-sgd have
  /// none.
  std::optional<double> momentum = {};
  double beta1 = 0.9;                // the Adam family
  std::optional<double> beta2 = {};  // 0.999; 0.99 for amsgrad in the paper's form and its kin
  double epsilon = 1e-8;             // the Adam family (the papers' nu), rmsprop, rmspropw
  double alpha = 0.99;               // rmsprop, rmspropw: decay of the squared gradient's average
  double weight_decay = 0;
  bool decay_norm_and_bias = true;  // false: batch norm parameters and biases are not decayed
  /// paper: the CD-Adam paper's, epsilon inside the root, no bias correction. corrected: PyTorch's,
  /// epsilon outside the root, bias corrected. Of amsgrad and its compressed kin.
  std::string amsgrad_form = "paper";
  /// worker: added to each worker's gradient before compression. update: to the aggregated one.
  /// decoupled: x shrinks by itself, as in AdamW. auto: worker; decoupled in adamw and rmspropw.
  std::string weight_decay_at = "auto";

  // Compressed methods.
  std::string compressor = "auto";  // sign topk randk identity; auto: the method's own
  std::optional<int64_t> top_k = {};
  double top_k_ratio = 0.016;                          // unless top_k is given
  std::string scale_granularity = "model";             // model tensor block:N
  std::string sign_scale = "l1";                       // l1: mean magnitude; l2: root mean square
  std::vector<std::string> uncompressed_tensors = {};  // bias, bn
  std::string index_coding = "plain";                  // plain packed
  std::string value_type = "f32";  // f32 bf16 f16, of Top-K's and Rand-K's values
  std::string server = "sharded";  // sharded central
  /// Gradients are sent in parts of about so many elements, which can be started early
  /// (Optimizer::StartEarly): a multiple of the arena's alignment; 0: all at once.
  int64_t bucket_elements = 0;
  /// Compress the uplink only. Empty: the method's own way, which is both ways where it has both.
  std::optional<bool> single_way = {};
  int64_t error_average_period = 0;    // saef-*: 0 is never
  int64_t freeze_steps = 0;            // onebit-adam
  bool bias_correction = false;        // onebit-adam
  double eta = 0.1;                    // ef21-sgdm, ef21-sgd2m
  std::string first_message = "auto";  // of ef21 and kin: compressed full zero
  uint64_t seed = 0;                   // randk
};

/// Where a state vector lives, which decides who saves it and what another number of ranks does.
enum class StateKind : uint8_t {
  kCommon,  // identical on all ranks, whole: saved once
  kWorker,  // each rank's own, whole
  kServer,  // each rank's shard of one vector: elements [range.begin, range.end) of the arena
};

/// What a fresh set of workers starts from when their number has changed.
enum class CarryOver : uint8_t {
  kMean,        // the mean over the saved workers' vectors
  kFromServer,  // the server's vector of the name `source` (Markov methods)
  kReshard,     // server vectors: the same vector, cut anew
};

/// A vector of an optimizer's state, or a part of it.
struct OptimizerState {
  std::string name;  // "momentum", "variance", "worker_estimate", …; the same of all parts
  View values;
  StateKind kind = StateKind::kCommon;
  Range range{};  // of the arena, as which `values` are laid out; of whole tensors unless kServer
  CarryOver carry_over = CarryOver::kMean;
  std::string source{};  // kFromServer
};

/// The phases of an optimizer's step.
enum class StepPhase : uint8_t { kCompress, kWire, kDecode, kUpdate };

/// Seconds in one of the phases: a number whose type says which, for PhaseTimer.
template <StepPhase kPhase>
struct PhaseSeconds {
  double value = 0;

  PhaseSeconds& operator=(double seconds) {
    value = seconds;
    return *this;
  }
  operator double() const { return value; }
};

/// What a step cost, and what it did to the vectors that it compressed.
struct StepCosts {
  // Of one worker, summed over all steps.
  int64_t paper_bits_up = 0, paper_bits_down = 0;
  /// The same with the coding that is used (packed indices, narrow values), without framing.
  int64_t coded_bits_up = 0, coded_bits_down = 0;
  // Seconds, of the last step.
  PhaseSeconds<StepPhase::kCompress> compress;
  PhaseSeconds<StepPhase::kWire> wire;
  PhaseSeconds<StepPhase::kDecode> decode;
  PhaseSeconds<StepPhase::kUpdate> update;
  // Of the last step, if it was measured (set_measure); else NaN, as where a method has none.
  double contraction_up = 0;    // 1 - |C(v) - v|² / |v|² of this worker
  double contraction_down = 0;  // likewise of the server, over all shards
  double squares_up = 0, squares_down = 0;  // |v|² of the two
  double mismatch_bound = 0;                // EF and SAEF
};

/// Updates an arena's values from its gradients, together with the other ranks. Its whole state is
/// state(), costs() and step(): copied into a fresh optimizer of the same options, they make it go
/// on bit for bit.
class Optimizer {
 public:
  virtual ~Optimizer() = default;

  // An arena's copy in bfloat16 is of its values after each of these calls, too.

  /// To be called before the gradient is taken, with the step's rate: SAEF moves the arena's values
  /// to y = x - e here.
  virtual void BeginStep(double learning_rate) { (void)learning_rate; }
  /// The ranges of the arena whose gradients StartEarly takes; none if it takes none in any step.
  virtual std::vector<Range> buckets() const { return {}; }
  /// Whether the next step can begin to send gradients before all of them are there: there are
  /// buckets, and the communicator carries them beside the backward pass.
  virtual bool can_start_early() const { return false; }
  /// To be called, if so, for each bucket whose gradients are final, all ranks in one order. The
  /// gradients stay as they are. Step then waits for what has begun, and takes no gradient_scale.
  virtual void StartEarly(const Range& bucket) { (void)bucket; }
  /// One update. `gradient_scale`, unless empty, is a number in device memory that multiplies the
  /// gradient (clipping). Afterwards the values are x again, the same bits on all ranks. Padding
  /// stays zero.
  /// @throws Error that names the tensor if a gradient is NaN or Inf, before anything is sent;
  /// where
  ///     the host does not see the device's memory, CheckStep may do so instead.
  virtual void Step(double learning_rate, ConstView gradient_scale) = 0;
  /// To be called after each step: waits for it where Step has not.
  /// @throws Error for what was wrong with the step; parameters are then as they were before it.
  virtual void CheckStep() {}
  /// All state vectors, for checkpoints, in a fixed order; empty for plain SGD. Lazy updates are
  /// brought up to date first, which changes no later result.
  virtual std::vector<OptimizerState> state() = 0;
  /// Called after a restored state() has been written, and after a change of the ranks' number.
  virtual void StateRestored() {}

  const StepCosts& costs() const { return costs_; }
  void restore_costs(const StepCosts& costs) { costs_ = costs; }
  /// Whether the next step, which is not to begin yet, measures contraction and mismatch. That
  /// costs passes of its own.
  virtual void set_measure(bool measure) { measure_ = measure; }

  /// Steps taken; checkpoints restore it.
  int64_t step() const { return step_; }
  virtual void set_step(int64_t step) { step_ = step; }

 protected:
  int64_t step_ = 0;
  StepCosts costs_;
  bool measure_ = false;
};

/// Arena and communicator must outlive the optimizer. All ranks make it with the same options.
/// @throws Error (usage) naming the nearest method, or a setting out of range.
std::unique_ptr<Optimizer> MakeOptimizer(const OptimizerOptions& options, ParameterArena& arena,
                                         Communicator& communicator);

/// sgd momentum nesterov adam adamw amsgrad rmsprop rmspropw signsgd, and the compressed ones.
std::vector<std::string> OptimizerNames();

}  // namespace thinwire
