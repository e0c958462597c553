// Compressors and their fused passes over flat memory: signs with scales, and Top-K.
//
// Vectors are float32 or float64, all of one call alike; `Range`s and indices count elements from
// the start of the views that a call is given. Elements outside the ranges are padding: never read
// into a norm or a choice, never written.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/updates.h"
#include "kernels/view.h"

namespace thinwire {

/// Elements [begin, end).
struct Range {
  int64_t begin = 0, end = 0;
  int64_t size() const { return end - begin; }
  bool operator==(const Range&) const = default;
};

/// What a pass puts in: factor * (gradient_scale * values + weight_decay * parameters) +
/// added_factor * added, element by element. `gradient_scale`, `parameters` and `added` may be
/// absent; only elements before `decayed_size` are decayed.
struct CompressionInput {
  ConstView values;
  double factor = 1;
  ConstView gradient_scale{};  // one number of the values' type, in device memory
  ConstView parameters{};
  double weight_decay = 0;
  int64_t decayed_size = 0;
  ConstView added{};
  double added_factor = 1;
};

/// Elements [range.begin, range.end) share scale number `group`.
struct ScaleRun {
  Range range;
  int64_t group = 0;
};

/// Layout of a vector for the scaled sign C(v) = scale * sign(v), sign(0) = sign(-0) = +1.
struct SignShape {
  int64_t size = 0;              // elements of the vector, padding included; a multiple of 32
  std::vector<ScaleRun> runs{};  // rising and disjoint; groups rise with them, without gaps
  /// Elements of each group in the *whole* vector, of which this may be a part.
  std::vector<int64_t> group_sizes{};
  enum class Scale : uint8_t { kMeanMagnitude, kRootMeanSquare } scale = Scale::kMeanMagnitude;
  DataType type = DataType::kFloat32;

  int64_t words() const { return size / 32; }
  int64_t groups() const { return static_cast<int64_t>(group_sizes.size()); }
};

/// A packed message in device memory: int32 words[shape.words()], bit j of word w for element
/// 32 w + j, 1 for >= 0, 0 in padding; and one scale a group, of the vector's type.
struct SignMessage {
  ConstView bits;
  ConstView scales;
};

/// The passes of the scaled sign. Each reads and writes every operand once. `sums` receives, a
/// group, the float64 sum of |v| (or of v² for kRootMeanSquare) over this part of it, the same for
/// any number of threads; a NaN or Inf in v makes its sum NaN or Inf. The first three also write
/// `scales`, unless absent: Scales(sums), for where this is all of each group. They may be what
/// pending scales are.
///
/// States are updated lazily, since the scale of a message is known only after the pass that packs
/// it: a pass takes the last message as `pending` (views absent: none) and applies it first.
class SignCompression {
 public:
  virtual ~SignCompression() = default;

  /// bits = sign(input).
  virtual void Pack(const CompressionInput& input, View bits, View sums, View scales = {}) = 0;
  /// Markov: state += pending; bits = sign(input - state). `bits` may be pending's own.
  virtual void PackDifference(const CompressionInput& input, const SignMessage& pending, View state,
                              View bits, View sums, View scales = {}) = 0;
  /// Error feedback: error holds the last p; p = (error - pending_scales * sign(error)) + input;
  /// error = p; bits = sign(p). Absent scales: error is the error itself.
  virtual void PackSum(const CompressionInput& input, ConstView pending_scales, View error,
                       View bits, View sums, View scales = {}) = 0;
  /// The server's forms of the two above, input = mean of the workers' messages, decoded and added
  /// in their order. PackMeanDifference: estimate += mean; bits = sign(estimate - target).
  virtual void PackMeanDifference(std::span<const SignMessage> messages, View estimate,
                                  ConstView target, View bits, View sums) = 0;
  virtual void PackMeanSum(std::span<const SignMessage> messages, ConstView pending_scales,
                           View error, View bits, View sums) = 0;

  /// scales = sums / group sizes (or its root).
  virtual void Scales(ConstView sums, View scales) = 0;

  /// y = mean of decoded messages (of one, that one); y += it with `add`. y += factor * … for Add.
  virtual void Mean(std::span<const SignMessage> messages, bool add, View y) = 0;
  /// y += factor * decoded message.
  virtual void Add(const SignMessage& message, double factor, View y) = 0;
  /// error = p -> error - scales * sign(error), what PackSum would do first.
  virtual void SettleError(ConstView scales, View error) = 0;
  /// estimate += decoded message, then the update with the estimate as gradient: one pass.
  virtual void AddAndUpdate(const SignMessage& message, const AdamUpdate& update, View estimate,
                            View momentum, View variance, View max_variance, View x) = 0;
};

/// Exact selection of the K largest magnitudes.
struct TopKShape {
  int64_t size = 0;             // elements of the vector, padding included
  std::vector<Range> ranges{};  // the elements to choose from; rising, disjoint
  int64_t k = 1;                // at most the elements in the ranges
  DataType type = DataType::kFloat32;
};

class TopK {
 public:
  virtual ~TopK() = default;

  /// v = input + state_factor * state (state_factor is -1, 0 or +1; 0: state is absent). Writes the
  /// indices (int32) of the k largest |v|, ties to the lower index, in rising order, and v there.
  /// NaN counts as larger than Inf, Inf than any number, so that a caller finds them in `values`.
  virtual void Select(const CompressionInput& input, ConstView state, int state_factor,
                      View indices, View values) = 0;
};

/// One device's share of the k largest magnitudes of vectors on several, by radix selection: a byte
/// of the magnitudes' bits a round, the highest first. Nothing but counts is exchanged meanwhile,
/// which is the caller's part. Magnitudes are ordered as TopK's.
class TopKShare {
 public:
  static constexpr int64_t kDigits = 256;
  static int64_t Rounds(DataType type) { return SizeOf(type); }

  virtual ~TopKShare() = default;

  /// counts[kDigits * round + d] (int32) = how many of the values have digit d, of those whose
  /// higher digits are the k-th largest's. Rounds come in order, and `counts` of those before this
  /// one are by now sums over all devices.
  virtual void Count(ConstView values, int64_t round, View counts) = 0;

  /// What is known after the last round's counts have been summed up.
  struct Size {
    int64_t above = 0;        // values of this device that are larger than the k-th largest
    int64_t ties = 0;         // and that are as large
    int64_t wanted_ties = 0;  // of all devices' ties, how many belong to the k
    int64_t all_ties = 0;
  };
  /// size: a Size, as bytes of device memory.
  virtual void Measure(ConstView values, ConstView counts, View size) = 0;

  /// Writes, in order, the values above, the first `ties` ties, and their indices + index_offset.
  /// The outputs are no inputs, and as long as what is written.
  virtual void Choose(ConstView indices, ConstView values, int64_t ties, int64_t index_offset,
                      View chosen_indices, View chosen_values) = 0;
};

struct TopKShareShape {
  int64_t size = 0;  // most values of a call
  int64_t k = 1;     // at most the values of all devices
  DataType type = DataType::kFloat32;
};

}  // namespace thinwire
