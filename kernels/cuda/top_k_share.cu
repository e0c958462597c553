// A round takes one launch: each block works out for itself, from all GPUs' counts of the round
// before, which digits its elements are to have, and counts the next. Then elements above the k-th
// largest and ties with it are counted in tiles, the block that finishes last adds up the tiles,
// and what is chosen is written in order.
#include "kernels/cuda/flat.cuh"
#include "kernels/cuda/last_block.cuh"
#include "kernels/cuda/magnitude.cuh"
#include "kernels/cuda/top_k_share.h"

namespace thinwire::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kDigitBits = 8;
constexpr int kDigits = static_cast<int>(TopKShare::kDigits);
static_assert(kDigits == kThreads && kDigits == 1 << kDigitBits);
constexpr int64_t kTileSize = 2048;

/// What is known of the k-th largest.
template <typename T>
struct Threshold {
  KeyOfType<T> key;    // its digits so far
  long long wanted;    // of the elements that have them, how many are among the k
  long long agreeing;  // how many have them, on all GPUs
};

struct TileBegin {
  int64_t above, ties;
};

template <typename T>
struct Arguments {
  const T* values;
  int64_t count;
  long long k;
  int* counts;                // [rounds][kDigits]
  Threshold<T>* thresholds;   // before each round, and behind the last
  unsigned* finished_blocks;  // 0 between launches
  TileBegin* tile_begins;

  static constexpr int kRounds = sizeof(T);
  __device__ int64_t Tiles() const { return (count + kTileSize - 1) / kTileSize; }

  /// Digits of the magnitude, the sign shifted out.
  __device__ static KeyOfType<T> DigitsOf(T value) { return KeyOf(value) << 1; }

  /// What is known before `round`, which follows from the counts of the round before. For all
  /// threads of a block together.
  __device__ Threshold<T> ThresholdBefore(int round) const {
    using Scan = cub::BlockScan<long long, kThreads>;
    __shared__ typename Scan::TempStorage storage;
    __shared__ Threshold<T> found;
    if (round == 0) return {.key = 0, .wanted = k, .agreeing = 0};
    const Threshold<T> last =
        round == 1 ? Threshold<T>{.key = 0, .wanted = k, .agreeing = 0} : thresholds[round - 1];
    // Thread 0 has the highest digit.
    const int digit = kDigits - 1 - static_cast<int>(threadIdx.x);
    const long long own = counts[(round - 1) * kDigits + digit];
    long long above = 0;
    Scan(storage).ExclusiveSum(own, above);
    if (threadIdx.x == 0) found = last;
    __syncthreads();
    // The lowest digit takes what counts that do not add up leave.
    if (above < last.wanted && (last.wanted <= above + own || digit == 0)) {
      found = {.key = static_cast<KeyOfType<T>>(last.key << kDigitBits | digit),
               .wanted = last.wanted - above,
               .agreeing = own};
      if (blockIdx.x == 0) thresholds[round] = found;
    }
    __syncthreads();
    return found;
  }
};

/// Counts the round's digits of elements whose higher digits are the threshold's.
template <typename T, int kWidth>
__global__ void __launch_bounds__(kThreads) CountDigitsKernel(Arguments<T> a, int round) {
  __shared__ int block_counts[kDigits];
  block_counts[threadIdx.x] = 0;
  const Threshold<T> threshold = a.ThresholdBefore(round);
  __syncthreads();
  const int shift = kDigitBits * (Arguments<T>::kRounds - 1 - round);
  const auto count = [&](T value) {
    const KeyOfType<T> digits = a.DigitsOf(value);
    if (round > 0 && digits >> (shift + kDigitBits) != threshold.key) return;
    atomicAdd(&block_counts[static_cast<int>(digits >> shift & (kDigits - 1))], 1);
  };
  const int64_t threads = int64_t{gridDim.x} * kThreads;
  const int64_t first = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  const int64_t vectors = a.count / kWidth;
  for (int64_t i = first; i < vectors; i += threads) {
    const auto part = Load<kWidth>(a.values + i * kWidth);
#pragma unroll
    for (int lane = 0; lane < kWidth; ++lane) count(part.lanes[lane]);
  }
  if (const int64_t rest = vectors * kWidth + first; rest < a.count) count(a.values[rest]);
  __syncthreads();
  const int own = block_counts[threadIdx.x];
  if (own != 0) atomicAdd(&a.counts[round * kDigits + static_cast<int>(threadIdx.x)], own);
}

/// Turns the tiles' counts into where each begins, and adds them up. One block.
template <typename T>
__device__ TileBegin PlaceTiles(const Arguments<T>& a) {
  using Scan = cub::BlockScan<long long, kThreads>;
  __shared__ typename Scan::TempStorage storage;
  const volatile TileBegin* const counts = a.tile_begins;
  TileBegin total{};
  for (int64_t first = 0; first < a.Tiles(); first += kThreads) {
    const int64_t tile = first + threadIdx.x;
    const bool valid = tile < a.Tiles();
    long long above = 0, ties = 0, sum_above = 0, sum_ties = 0;
    Scan(storage).ExclusiveSum(valid ? counts[tile].above : 0, above, sum_above);
    __syncthreads();
    Scan(storage).ExclusiveSum(valid ? counts[tile].ties : 0, ties, sum_ties);
    __syncthreads();
    if (valid) a.tile_begins[tile] = {total.above + above, total.ties + ties};
    total.above += sum_above;
    total.ties += sum_ties;
  }
  return total;
}

/// Counts what of each tile lies above the k-th largest, and at it; then places the tiles.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    CountShareKernel(Arguments<T> a, TopKShare::Size* size) {
  const Threshold<T> threshold = a.ThresholdBefore(Arguments<T>::kRounds);
  for (int64_t tile = blockIdx.x; tile < a.Tiles(); tile += gridDim.x) {
    TileBegin counts{};
    for (int64_t first = 0; first < kTileSize; first += kThreads) {
      const int64_t i = tile * kTileSize + first + threadIdx.x;
      const bool valid = i < a.count;
      const KeyOfType<T> digits = valid ? a.DigitsOf(a.values[i]) : 0;
      counts.above += __syncthreads_count(valid && digits > threshold.key);
      counts.ties += __syncthreads_count(valid && digits == threshold.key);
    }
    if (threadIdx.x == 0) a.tile_begins[tile] = counts;
  }
  if (!IsLastBlock(a.finished_blocks)) return;
  const TileBegin total = PlaceTiles(a);
  if (threadIdx.x == 0) {
    *size = {.above = total.above,
             .ties = total.ties,
             .wanted_ties = threshold.wanted,
             .all_ties = threshold.agreeing};
  }
}

/// Writes what is chosen, in order.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    WriteShareKernel(Arguments<T> a, const int32_t* indices, int64_t ties, int32_t index_offset,
                     int32_t* chosen_indices, T* chosen_values) {
  using Writer = ChosenWriter<T, kThreads>;
  __shared__ typename Writer::Scan::TempStorage storage;
  const KeyOfType<T> cut = a.thresholds[Arguments<T>::kRounds].key >> 1;
  for (int64_t tile = blockIdx.x; tile < a.Tiles(); tile += gridDim.x) {
    const TileBegin begin = a.tile_begins[tile];
    const int64_t ties_before = begin.ties < ties ? begin.ties : ties;
    Writer writer{.storage = storage,
                  .cut = cut,
                  .ties_left = ties - ties_before,
                  .to = begin.above + ties_before,
                  .indices = chosen_indices,
                  .values = chosen_values};
    for (int64_t first = 0; first < kTileSize; first += kThreads) {
      const int64_t i = tile * kTileSize + first + threadIdx.x;
      const bool valid = i < a.count;
      writer.Add(valid, valid ? indices[i] + index_offset : 0, valid ? a.values[i] : T{0});
    }
  }
}

template <typename T>
class CudaTopKShare : public TopKShare {
 public:
  CudaTopKShare(Device& device, const Queue& queue, const TopKShareShape& shape)
      : queue_(queue),
        k_(shape.k),
        thresholds_(device.Allocate((Arguments<T>::kRounds + 1) *
                                    static_cast<int64_t>(sizeof(Threshold<T>)))),
        finished_blocks_(device.Allocate(sizeof(unsigned))),
        tile_begins_(device.Allocate((shape.size + kTileSize - 1) / kTileSize *
                                     static_cast<int64_t>(sizeof(TileBegin)))) {}

  void Count(ConstView values, int64_t round, View counts) override {
    Fill(queue_, counts.as<int>() + round * kDigits, 0, kDigits * sizeof(int));
    const auto a = ArgumentsOf(values, counts);
    constexpr int kWidth = kFullWidth<T>;
    const bool aligned = Aligned(values.data);
    const Grid grid = AtLeastOne(GridFor(queue_, aligned ? values.size / kWidth : values.size));
    Launch("top_k_count_digits", queue_, grid,
           aligned ? CountDigitsKernel<T, kWidth> : CountDigitsKernel<T, 1>, a,
           static_cast<int>(round));
  }

  void Measure(ConstView values, ConstView counts, View size) override {
    Launch("top_k_count_share", queue_, TileGrid(values.size), CountShareKernel<T>,
           ArgumentsOf(values, counts), size.as<Size>());
  }

  void Choose(ConstView indices, ConstView values, int64_t ties, int64_t index_offset,
              View chosen_indices, View chosen_values) override {
    Launch("top_k_write_share", queue_, TileGrid(values.size), WriteShareKernel<T>,
           ArgumentsOf(values, {}), indices.as<int32_t>(), ties, static_cast<int32_t>(index_offset),
           chosen_indices.as<int32_t>(), chosen_values.as<T>());
  }

 private:
  static Grid AtLeastOne(Grid grid) {  // for what every launch leaves behind
    if (grid.blocks == 0) grid.blocks = 1;
    return grid;
  }
  Grid TileGrid(int64_t count) const {
    return AtLeastOne(GridFor(queue_, (count + kTileSize - 1) / kTileSize * kThreads, kThreads));
  }
  Arguments<T> ArgumentsOf(ConstView values, ConstView counts) const {
    return {.values = values.as<T>(),
            .count = values.size,
            .k = k_,
            .counts = const_cast<int*>(counts.as<int>()),
            .thresholds = static_cast<Threshold<T>*>(thresholds_.data()),
            .finished_blocks = static_cast<unsigned*>(finished_blocks_.data()),
            .tile_begins = static_cast<TileBegin*>(tile_begins_.data())};
  }

  Queue queue_;
  int64_t k_;
  Buffer thresholds_, finished_blocks_, tile_begins_;
};

}  // namespace
}  // namespace thinwire::cuda

namespace thinwire {

std::unique_ptr<TopKShare> MakeCudaTopKShare(Device& device, const cuda::Queue& queue,
                                             const TopKShareShape& shape) {
  if (shape.type == DataType::kFloat64) {
    return std::make_unique<cuda::CudaTopKShare<double>>(device, queue, shape);
  }
  return std::make_unique<cuda::CudaTopKShare<float>>(device, queue, shape);
}

}  // namespace thinwire
