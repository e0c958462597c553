#include "kernels/cuda/adam_step.cuh"
#include "kernels/cuda/compression.h"
#include "kernels/cuda/compression_plan.h"
#include "kernels/cuda/sign_passes.cuh"
#include "kernels/sum_tree.h"

namespace thinwire::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarp;
constexpr int kResidentWarps = 64;  // of a multiprocessor
constexpr int kMostPartBits = 3;
constexpr int64_t kFewGroups = 128;  // that one block sums up sooner than another launch begins
static_assert(sum_tree::kPiece % ((kWarp * kNeighbours) << kMostPartBits) == 0);
static_assert(sum_tree::kLanes == kWarp && sum_tree::kRow == kWarp && sum_tree::kGroups == 4);

/// What an element adds to a sum: |v|, or v².
template <typename T>
__device__ inline double Term(T value, bool squares) {
  const double wide = static_cast<double>(value);
  return squares ? wide * wide : fabs(wide);
}

/// The eight lanes of a word: bits 4 l to 4 l + 3 are lane l's.
template <typename T>
__device__ inline uint32_t PackWord(const Vector<T, kNeighbours>& values) {
  uint32_t bits = 0;
#pragma unroll
  for (int k = 0; k < kNeighbours; ++k) bits |= (values.lanes[k] >= 0 ? 1u : 0u) << k;
  bits <<= threadIdx.x % 8 * kNeighbours;
#pragma unroll
  for (int distance = 1; distance < 8; distance *= 2) {
    bits |= __shfl_xor_sync(kAllLanes, bits, distance);
  }
  return bits;
}

/// Whole words: returns their sum in lane 0.
template <typename T, typename Source, typename Pass>
__device__ double PackWords(const SignPiece& piece, const Source& source, const Pass& pass,
                            bool squares, uint32_t* bits) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  // Lane 2 j + h of a word's eight, element k: part of the sum of places 4 h + k.
  double sums[kNeighbours] = {};
  for (int64_t first = piece.begin; first < piece.end; first += kWarp * kNeighbours) {
    const int64_t i = first + lane * kNeighbours;
    Vector<T, kNeighbours> values{};
    if (i < piece.end) {
      values = pass.template At<kNeighbours>(
          i, piece.group, source.template At<kNeighbours>(i, piece.group, pass.a.aligned));
    }
#pragma unroll
    for (int k = 0; k < kNeighbours; ++k) {
      double term = Term(values.lanes[k], squares);
      term += __shfl_xor_sync(kAllLanes, term, 2);
      term += __shfl_xor_sync(kAllLanes, term, 4);
      sums[k] += term;
    }
    const uint32_t word = PackWord(values);
    if (lane % 8 == 0 && i < piece.end) bits[i / 32] = word;
  }
  double total = 0;
#pragma unroll
  for (int k = 0; k < kNeighbours; ++k) {  // over the groups, which are eight lanes each
    sums[k] += __shfl_xor_sync(kAllLanes, sums[k], 8);
    sums[k] += __shfl_xor_sync(kAllLanes, sums[k], 16);
    total += sums[k];
  }
#pragma unroll
  for (int k = 0; k < kNeighbours; ++k) total += __shfl_sync(kAllLanes, sums[k], 1);
  return total;
}

/// A part of a word, whose other bits belong to other pieces: a lane an element.
template <typename T, typename Source, typename Pass>
__device__ double PackPart(const SignPiece& piece, const Source& source, const Pass& pass,
                           bool squares, uint32_t* bits) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int64_t i = piece.begin / 32 * 32 + lane;  // so that lanes are the word's bits
  const bool inside = piece.begin <= i && i < piece.end;
  Vector<T, 1> value{};
  if (inside) {
    value = pass.template At<1>(i, piece.group, source.template At<1>(i, piece.group, false));
  }
  const double term = Term(value.lanes[0], squares);
  double total = 0;
  for (int from = 0; from < kWarp; ++from) total += __shfl_sync(kAllLanes, term, from);
  const uint32_t mask = __ballot_sync(kAllLanes, inside);
  const uint32_t word = __ballot_sync(kAllLanes, inside && value.lanes[0] >= 0);
  if (lane == 0) {
    atomicAnd(&bits[i / 32], word | ~mask);
    atomicOr(&bits[i / 32], word);
  }
  return total;
}

/// What becomes of the pieces' sums.
template <typename T>
struct GroupResults {
  double* sums;
  T* scales;             // or null
  const int64_t* sizes;  // of the groups, in the whole vector
  bool squares;          // the sums are of squares, a scale is a root

  __device__ T Scale(double sum, int64_t group) const {
    const double mean = sum / static_cast<double>(sizes[group]);
    return static_cast<T>(squares ? sqrt(mean) : mean);
  }
};

/// Warps `first`, `first` + `warps`, … take a group each, which may be the whole vector: many loads
/// are on their way at once.
template <typename T>
__device__ void SumGroups(const PlannedPieces& plan, const GroupResults<T>& results, int64_t first,
                          int64_t warps) {
  constexpr int kAhead = 16;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const volatile double* const piece_sums = plan.piece_sums;
  for (int64_t group = first; group < plan.group_count; group += warps) {
    const int64_t end = plan.first_pieces[group + 1];
    double sum = 0;
    for (int64_t p = plan.first_pieces[group] + lane; p < end; p += kWarp * kAhead) {
      double ahead[kAhead];
#pragma unroll
      for (int k = 0; k < kAhead; ++k) {
        ahead[k] = p + k * kWarp < end ? piece_sums[p + k * kWarp] : 0.0;
      }
#pragma unroll
      for (int k = 0; k < kAhead; ++k) sum += ahead[k];  // no sum is -0: zeros change nothing
    }
    double total = 0;
    for (int from = 0; from < kWarp; ++from) total += __shfl_sync(kAllLanes, sum, from);
    if (lane == 0) {
      results.sums[group] = total;
      if (results.scales != nullptr) results.scales[group] = results.Scale(total, group);
    }
  }
}

/// A warp a piece; then, a thread an item, the bits of padding. If the groups are few, the block
/// that finishes last sums them up.
template <typename T, typename Source, typename Pass>
__global__ void __launch_bounds__(kThreads) PackKernel(PlannedPieces plan, Source source, Pass pass,
                                                       GroupResults<T> results, uint32_t* bits) {
  const int64_t threads = int64_t{gridDim.x} * kThreads;
  const int64_t thread = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  for (int64_t p = thread / kWarp; p < plan.piece_count; p += threads / kWarp) {
    const SignPiece piece = plan.pieces[p];
    const bool whole = piece.begin % 32 == 0 && piece.end % 32 == 0;
    const double sum = whole ? PackWords<T>(piece, source, pass, results.squares, bits)
                             : PackPart<T>(piece, source, pass, results.squares, bits);
    if (threadIdx.x % kWarp == 0) plan.piece_sums[p] = sum;
  }
  for (int64_t p = thread; p < plan.padded_count; p += threads) {
    const PaddedWords padded = plan.padded[p];
    for (int64_t w = padded.begin; w < padded.end; ++w) atomicAnd(&bits[w], padded.mask);
  }
  if (plan.group_count > kFewGroups) return;
  // All blocks have read what is pending once the last has finished: its scales may be overwritten.
  __shared__ bool last;
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) last = atomicAdd(plan.finished_blocks, 1u) == gridDim.x - 1;
  __syncthreads();
  if (!last) return;
  __threadfence();
  SumGroups(plan, results, threadIdx.x / kWarp, kWarps);
  if (threadIdx.x == 0) *plan.finished_blocks = 0;
}

/// Many groups: a warp a group.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    GroupSumsKernel(PlannedPieces plan, GroupResults<T> results) {
  const int64_t thread = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  SumGroups(plan, results, thread / kWarp, int64_t{gridDim.x} * kWarps);
}

template <typename T>
__global__ void __launch_bounds__(kThreads) ScalesKernel(GroupResults<T> results, int64_t groups) {
  const int64_t group = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (group < groups) results.scales[group] = results.Scale(results.sums[group], group);
}

// What is done with the decoded elements from `i` on.

template <typename T>
struct MeanPass {
  MeanOfMessages<T> mean;
  bool add;
  T* y;
  bool aligned;
  template <int kCount>
  __device__ void At(int64_t i, int64_t group) const {
    auto value = mean.template At<kCount>(i, group, aligned);
    if (add) value = Plus(LoadLanes<kCount>(y + i, aligned), value);
    StoreLanes<kCount>(y + i, value, aligned);
  }
};

template <typename T>
struct AddPass {
  Message<T> message;
  StepArgument<T> factor;
  T* y;
  bool aligned;
  const int* halted;
  template <int kCount>
  __device__ void At(int64_t i, int64_t group) const {
    if (*halted != 0) return;
    const T scale = message.scales[group] * factor.Get();
    const auto decoded = Decode<kCount>(message.words[i / 32], i, scale);
    StoreLanes<kCount>(y + i, Plus(LoadLanes<kCount>(y + i, aligned), decoded), aligned);
  }
};

template <typename T>
struct SettlePass {
  const T* scales;
  T* error;
  bool aligned;
  template <int kCount>
  __device__ void At(int64_t i, int64_t group) const {
    auto values = LoadLanes<kCount>(error + i, aligned);
#pragma unroll
    for (T& value : values.lanes) value = Settled(scales[group], value);
    StoreLanes<kCount>(error + i, values, aligned);
  }
};

template <bool kMaximum, typename T>
struct AddAndUpdatePass {
  Message<T> message;
  StepArgument<AdamArguments<T>> arguments;
  const T* gradient_scale;
  T *estimate, *m, *v, *v_max, *x;
  BFloat16* copy;  // of x, or null
  bool aligned;
  const int* halted;
  template <int kCount>
  __device__ void At(int64_t i, int64_t group) const {
    if (*halted != 0) return;
    AdamArguments<T> a = arguments.Get();
    if (gradient_scale != nullptr) a.gradient_scale = *gradient_scale;
    const T inverse_divisor = 1 / a.variance_divisor;
    const auto gradient = Plus(LoadLanes<kCount>(estimate + i, aligned),
                               Decode<kCount>(message.words[i / 32], i, message.scales[group]));
    StoreLanes<kCount>(estimate + i, gradient, aligned);
    auto first = LoadLanes<kCount>(m + i, aligned), second = LoadLanes<kCount>(v + i, aligned);
    auto values = LoadLanes<kCount>(x + i, aligned);
    Vector<T, kCount> largest{};
    if constexpr (kMaximum) largest = LoadLanes<kCount>(v_max + i, aligned);
#pragma unroll
    for (int k = 0; k < kCount; ++k) {
      AdamStep<kMaximum>(a, inverse_divisor, gradient.lanes[k], first.lanes[k], second.lanes[k],
                         largest.lanes[k], values.lanes[k]);
    }
    StoreLanes<kCount>(m + i, first, aligned);
    StoreLanes<kCount>(v + i, second, aligned);
    if constexpr (kMaximum) StoreLanes<kCount>(v_max + i, largest, aligned);
    StoreLanes<kCount>(x + i, values, aligned);
    if (aligned) {
      StoreCopy(copy, i, values);
    } else {
#pragma unroll
      for (int k = 0; k < kCount; ++k) StoreCopy<1, T>(copy, i + k, {{values.lanes[k]}});
    }
  }
};

/// A warp takes one of the 2^part_bits parts of a piece.
template <typename Pass>
__global__ void __launch_bounds__(kThreads)
    ApplyKernel(PlannedPieces plan, int part_bits, Pass pass) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int64_t warps = int64_t{gridDim.x} * kWarps;
  const int64_t part_size = sum_tree::kPiece >> part_bits;
  for (int64_t item = (int64_t{blockIdx.x} * kThreads + threadIdx.x) / kWarp;
       item < (plan.piece_count << part_bits); item += warps) {
    const SignPiece piece = plan.pieces[item >> part_bits];
    const int64_t part = item & ((int64_t{1} << part_bits) - 1);
    if (piece.begin % 32 == 0 && piece.end % 32 == 0) {
      const int64_t begin = piece.begin + part * part_size;
      const int64_t end = begin + part_size < piece.end ? begin + part_size : piece.end;
      for (int64_t i = begin + lane * kNeighbours; i < end; i += kWarp * kNeighbours) {
        pass.template At<kNeighbours>(i, piece.group);
      }
    } else if (part == 0 && piece.begin + lane < piece.end) {
      pass.template At<1>(piece.begin + lane, piece.group);
    }
  }
}

template <typename T>
Message<T> MessageOf(const SignMessage& message) {
  return {message.bits.as<uint32_t>(), message.scales.as<T>()};
}

template <typename T>
class CudaSignCompression : public SignCompression {
 public:
  CudaSignCompression(Device& device, const Queue& queue, const SignShape& shape)
      : queue_(queue), shape_(shape), plan_(device, shape) {}

  void Pack(const CompressionInput& input, View bits, View sums, View scales) override {
    RunPack("pack", WorkerInput<T>{InputOf<T>(queue_, input)},
            PackInputPass<T>{{.aligned = AllAligned(input.values, input.parameters, input.added)}},
            bits, sums, scales);
  }

  void PackDifference(const CompressionInput& input, const SignMessage& pending, View state,
                      View bits, View sums, View scales) override {
    RunPack("pack_difference", WorkerInput<T>{InputOf<T>(queue_, input)},
            PackDifferencePass<T>{
                {.state = state.as<T>(),
                 .pending = MessageOf<T>(pending),
                 .aligned = AllAligned(input.values, input.parameters, input.added, state)}},
            bits, sums, scales);
  }

  void PackSum(const CompressionInput& input, ConstView pending_scales, View error, View bits,
               View sums, View scales) override {
    RunPack(
        "pack_sum", WorkerInput<T>{InputOf<T>(queue_, input)},
        PackSumPass<T>{{.state = error.as<T>(),
                        .pending = {nullptr, pending_scales.as<T>()},
                        .aligned = AllAligned(input.values, input.parameters, input.added, error)}},
        bits, sums, scales);
  }

  void PackMeanDifference(std::span<const SignMessage> messages, View estimate, ConstView target,
                          View bits, View sums) override {
    RunPack("pack_mean_difference", MeanOf(messages),
            PackEstimatePass<T>{{.state = estimate.as<T>(),
                                 .target = target.as<T>(),
                                 .aligned = AllAligned(estimate, target)}},
            bits, sums, {});
  }

  void PackMeanSum(std::span<const SignMessage> messages, ConstView pending_scales, View error,
                   View bits, View sums) override {
    RunPack("pack_mean_sum", MeanOf(messages),
            PackSumPass<T>{{.state = error.as<T>(),
                            .pending = {nullptr, pending_scales.as<T>()},
                            .aligned = AllAligned(error)}},
            bits, sums, {});
  }

  void Scales(ConstView sums, View scales) override {
    const int64_t groups = shape_.groups();
    Launch("scales", queue_, {.blocks = (groups + kThreads - 1) / kThreads, .threads = kThreads},
           ScalesKernel<T>, ResultsIn(sums, scales), groups);
  }

  void Mean(std::span<const SignMessage> messages, bool add, View y) override {
    Apply("mean_of_signs", MeanPass<T>{MeanOf(messages), add, y.as<T>(), AllAligned(y)});
  }

  void Add(const SignMessage& message, double factor, View y) override {
    Apply("add_signs", AddPass<T>{MessageOf<T>(message), MakeFactor<T>(queue_, factor), y.as<T>(),
                                  AllAligned(y), queue_.halted});
  }

  void SettleError(ConstView scales, View error) override {
    Apply("settle_error", SettlePass<T>{scales.as<T>(), error.as<T>(), AllAligned(error)});
  }

  void AddAndUpdate(const SignMessage& message, const AdamUpdate& update, View estimate,
                    View momentum, View variance, View max_variance, View x) override {
    const StepArgument<AdamArguments<T>> arguments =
        MakeStepArgument(queue_, ArgumentsOf<T>(update));
    const View copy = update.common.bfloat16_x;
    const auto run = [&]<bool kMaximum>() {
      Apply("add_signs_and_adam",
            AddAndUpdatePass<kMaximum, T>{
                MessageOf<T>(message), arguments, update.common.gradient_scale.as<T>(),
                estimate.as<T>(), momentum.as<T>(), variance.as<T>(), max_variance.as<T>(),
                x.as<T>(), copy.as<BFloat16>(),
                AllAligned(estimate, momentum, variance, max_variance, x, copy), queue_.halted});
    };
    if (max_variance) {
      run.template operator()<true>();
    } else {
      run.template operator()<false>();
    }
  }

 private:
  MeanOfMessages<T> MeanOf(std::span<const SignMessage> messages) const {
    CheckMessageCount(messages.size(), MeanOfMessages<T>::kMost);
    MeanOfMessages<T> mean{};
    for (const SignMessage& message : messages) {
      mean.words[mean.count] = message.bits.as<uint32_t>();
      mean.scales[mean.count++] = message.scales.as<T>();
    }
    return mean;
  }

  GroupResults<T> ResultsIn(ConstView sums, View scales) const {
    return {.sums = const_cast<double*>(sums.as<double>()),
            .scales = scales.as<T>(),
            .sizes = plan_.group_sizes(),
            .squares = shape_.scale == SignShape::Scale::kRootMeanSquare};
  }

  template <typename Source, typename Pass>
  void RunPack(const char* name, const Source& source, const Pass& pass, View bits, View sums,
               View scales) {
    const PlannedPieces pieces = plan_.pieces();
    const GroupResults<T> results = ResultsIn(sums, scales);
    const int64_t threads = pieces.piece_count * kWarp;
    Grid grid =
        GridFor(queue_, threads > pieces.padded_count ? threads : pieces.padded_count, kThreads);
    const bool few = pieces.group_count <= kFewGroups;
    if (few && grid.blocks == 0 && pieces.group_count > 0) grid.blocks = 1;  // to write zeros
    Launch(name, queue_, grid, PackKernel<T, Source, Pass>, pieces, source, pass, results,
           bits.as<uint32_t>());
    if (few) return;
    Launch("group_sums", queue_, GridFor(queue_, pieces.group_count * kWarp, kThreads),
           GroupSumsKernel<T>, pieces, results);
  }

  template <typename Pass>
  void Apply(const char* name, const Pass& pass) {
    const PlannedPieces pieces = plan_.pieces();
    // Elements are independent here: where pieces are few, several warps share one.
    const int64_t resident = queue_.multiprocessors * int64_t{kResidentWarps};
    int part_bits = 0;
    while (part_bits < kMostPartBits && (pieces.piece_count << part_bits) < resident) ++part_bits;
    Launch(name, queue_, GridFor(queue_, (pieces.piece_count << part_bits) * kWarp, kThreads),
           ApplyKernel<Pass>, pieces, part_bits, pass);
  }

  Queue queue_;
  SignShape shape_;
  SignPlan plan_;
};

}  // namespace
}  // namespace thinwire::cuda

namespace thinwire {

std::unique_ptr<SignCompression> MakeCudaSignCompression(Device& device, const cuda::Queue& queue,
                                                         const SignShape& shape) {
  if (shape.type == DataType::kFloat64) {
    return std::make_unique<cuda::CudaSignCompression<double>>(device, queue, shape);
  }
  return std::make_unique<cuda::CudaSignCompression<float>>(device, queue, shape);
}

}  // namespace thinwire
