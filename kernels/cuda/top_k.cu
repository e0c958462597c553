// Exact Top-K by radix selection on the bits of |v|, v computed on the fly, in two reads of its
// operands and little more:
//
// 1. count the magnitudes' highest digits; the k-th largest has one of them,
// 2. gather all elements whose highest digit is at least that one, the candidates, and count the
//    second digits of those that have it,
// 3. count the lower digits of the candidates that have the k-th largest's higher ones, one by one,
//    which gives the k-th largest itself,
// 4. count in each tile what lies above it, and ties; sum over tiles,
// 5. write in order.
//
// What follows from all blocks' counts, the block that finishes last works out. Where ties or a
// flat distribution give more candidates than there is memory for, steps 3 to 5 read all elements
// instead. All of this is decided on the device.
#include <vector>

#include "kernels/cuda/compression_input.cuh"
#include "kernels/cuda/last_block.cuh"
#include "kernels/cuda/magnitude.cuh"
#include "kernels/cuda/top_k.h"
#include "kernels/cuda/upload.h"

namespace thinwire::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int64_t kTileSize = 4096;  // elements of one range
constexpr int kDigitBits = 11, kBins = 1 << kDigitBits;
constexpr int kNeighbours = 4;

/// What the kernels leave to each other.
template <typename T>
struct Selection {
  KeyOfType<T> prefix;  // the k-th largest's digits so far
  long long rank;       // its place, from 1 on, among the elements that have them
  unsigned long long gathered;
};

struct TileCounts {
  int above, ties;
};

/// Bits [shift, shift + bits) of a magnitude.
struct Digit {
  int shift, bits;
};

template <typename T>
struct Arguments {
  // v = input + state_factor * state
  Input<T> input;
  const T* state;
  T state_factor;
  bool aligned;

  const Range* tiles;
  int64_t tile_count;
  long long k;
  int* bins;                  // [kBins], zeros between launches
  unsigned* finished_blocks;  // 0 between launches
  Selection<T>* selection;

  // Candidates, in tiles; of each tile where they are.
  int64_t capacity;
  unsigned long long* offsets;  // [tile_count]
  int* counts;                  // [tile_count]
  int32_t* candidate_indices;
  T* candidate_values;

  TileCounts* tile_counts;
  int64_t* tile_begins;
  int32_t* indices;
  T* values;

  __device__ bool Gathered() const {
    return selection->gathered <= static_cast<unsigned long long>(capacity);
  }

  template <int kCount>
  __device__ Vector<T, kCount> At(int64_t i) const {
    auto result = input.template At<kCount>(i, input.GradientScale());
    if (state != nullptr) {
      const auto other = Load<kCount>(state + i);
#pragma unroll
      for (int k = 0; k < kCount; ++k) result.lanes[k] += state_factor * other.lanes[k];
    }
    return result;
  }

  /// Calls body(i, value) on the tile's elements, each thread on some.
  template <typename Body>
  __device__ void ForEach(const Range& tile, const Body& body) const {
    constexpr int kWidth = kFullWidth<T>;
    const bool whole = aligned && tile.begin % kWidth == 0;
    const int64_t body_end =
        whole ? tile.begin + (tile.end - tile.begin) / kWidth * kWidth : tile.begin;
    for (int64_t i = tile.begin + threadIdx.x * kWidth; i < body_end; i += kThreads * kWidth) {
      const auto part = At<kWidth>(i);
#pragma unroll
      for (int k = 0; k < kWidth; ++k) body(i + k, part.lanes[k]);
    }
    for (int64_t i = body_end + threadIdx.x; i < tile.end; i += kThreads) {
      body(i, At<1>(i).lanes[0]);
    }
  }
};

/// A block's counts of one digit, in shared memory, of the elements whose higher digits are
/// `prefix`.
template <typename T>
class DigitCounts {
 public:
  __device__ DigitCounts(int* counts, Digit digit, KeyOfType<T> prefix)
      : counts_(counts), digit_(digit), prefix_(prefix) {
    for (int bin = threadIdx.x; bin < kBins; bin += kThreads) counts_[bin] = 0;
    __syncthreads();
  }

  __device__ void Add(T value) const {
    const KeyOfType<T> key = KeyOf(value);
    if (key >> (digit_.shift + digit_.bits) != prefix_) return;
    const KeyOfType<T> mask = (KeyOfType<T>{1} << digit_.bits) - 1;
    atomicAdd(&counts_[static_cast<int>(key >> digit_.shift & mask)], 1);
  }

  /// Adds the block's counts to all. The last block finds the digit of the k-th largest, which is
  /// number `rank` among the elements counted, and clears the bins.
  __device__ void Finish(const Arguments<T>& a, bool first) const {
    using Scan = cub::BlockScan<long long, kThreads>;
    __shared__ typename Scan::TempStorage storage;
    __syncthreads();
    for (int bin = threadIdx.x; bin < kBins; bin += kThreads) {
      if (counts_[bin] != 0) atomicAdd(&a.bins[bin], counts_[bin]);
    }
    if (!IsLastBlock(a.finished_blocks)) return;
    constexpr int kOwn = kBins / kThreads;
    // Thread 0 has the highest bins.
    int own[kOwn];
    long long sum = 0;
#pragma unroll
    for (int j = 0; j < kOwn; ++j) {
      own[j] = atomicExch(&a.bins[kBins - 1 - (static_cast<int>(threadIdx.x) * kOwn + j)], 0);
      sum += own[j];
    }
    const long long rank = first ? a.k : a.selection->rank;
    long long before = 0;
    Scan(storage).ExclusiveSum(sum, before);
    __syncthreads();  // all have read the selection
    if (before >= rank || rank > before + sum) return;
    long long left = rank - before;
    int j = 0;
    while (left > own[j]) left -= own[j++];
    const int bin = kBins - 1 - (static_cast<int>(threadIdx.x) * kOwn + j);
    a.selection->prefix = (prefix_ << digit_.bits) | static_cast<KeyOfType<T>>(bin);
    a.selection->rank = left;
    if (first) a.selection->gathered = 0;
  }

 private:
  int* const counts_;  // [kBins]
  const Digit digit_;
  const KeyOfType<T> prefix_;
};

/// The k-th largest's first digit, or another but the second.
template <typename T>
__global__ void __launch_bounds__(kThreads, 4)  // else ptxas saves registers and spills some
    HistogramKernel(Arguments<T> a, Digit digit, bool first) {
  __shared__ int shared_counts[kBins];
  const DigitCounts<T> counts(shared_counts, digit, first ? 0 : a.selection->prefix);
  if (!first && a.Gathered()) {
    const int64_t gathered = static_cast<int64_t>(a.selection->gathered);
    const int64_t threads = int64_t{gridDim.x} * kThreads;
    for (int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x; i < gathered; i += threads) {
      counts.Add(a.candidate_values[i]);
    }
  } else {
    for (int64_t tile = blockIdx.x; tile < a.tile_count; tile += gridDim.x) {
      a.ForEach(a.tiles[tile], [&](int64_t, T value) { counts.Add(value); });
    }
  }
  counts.Finish(a, first);
}

/// Gathers each tile's elements whose highest digit is at least the selection's, in order, and
/// finds the k-th largest's second digit.
template <typename T>
__global__ void __launch_bounds__(kThreads) GatherKernel(Arguments<T> a, Digit second) {
  using Counts = unsigned long long;  // of each round, 16 bits each
  using Scan = cub::BlockScan<Counts, kThreads>;
  __shared__ typename Scan::TempStorage storage;
  __shared__ unsigned long long offset;
  constexpr int kRounds = kTileSize / (kThreads * kNeighbours);
  static_assert(kRounds <= 4 && kThreads * kNeighbours < 1 << 16);
  const auto of_round = [](Counts counts, int round) {
    return static_cast<int>(counts >> (16 * round) & 0xFFFF);
  };
  __shared__ int shared_counts[kBins];
  const DigitCounts<T> counts_of_second(shared_counts, second, a.selection->prefix);
  const KeyOfType<T> least = a.selection->prefix << (second.shift + second.bits);
  for (int64_t tile = blockIdx.x; tile < a.tile_count; tile += gridDim.x) {
    const Range range = a.tiles[tile];
    const bool whole = a.aligned && range.begin % kNeighbours == 0;
    T values[kRounds][kNeighbours];
    // All loads before the scan, whose barriers they would wait at.
#pragma unroll
    for (int round = 0; round < kRounds; ++round) {
      const int64_t i = range.begin + (round * kThreads + threadIdx.x) * kNeighbours;
      if (whole && i + kNeighbours <= range.end) {
        constexpr int kWidth = kFullWidth<T>;
#pragma unroll
        for (int k = 0; k < kNeighbours; k += kWidth) {
          const auto part = a.template At<kWidth>(i + k);
#pragma unroll
          for (int j = 0; j < kWidth; ++j) values[round][k + j] = part.lanes[j];
        }
      } else {
#pragma unroll
        for (int k = 0; k < kNeighbours; ++k) {
          if (i + k < range.end) values[round][k] = a.template At<1>(i + k).lanes[0];
        }
      }
    }
    const auto wanted = [&](int64_t i, T value) { return i < range.end && KeyOf(value) >= least; };
    Counts own = 0;
#pragma unroll
    for (int round = 0; round < kRounds; ++round) {
      const int64_t i = range.begin + (round * kThreads + threadIdx.x) * kNeighbours;
#pragma unroll
      for (int k = 0; k < kNeighbours; ++k) {
        if (!wanted(i + k, values[round][k])) continue;
        own += Counts{1} << (16 * round);
        counts_of_second.Add(values[round][k]);
      }
    }
    Counts before = 0, sum = 0;
    Scan(storage).ExclusiveSum(own, before, sum);
    int total = 0;
#pragma unroll
    for (int round = 0; round < kRounds; ++round) total += of_round(sum, round);
    if (threadIdx.x == 0) {
      offset = atomicAdd(&a.selection->gathered, static_cast<unsigned long long>(total));
      a.offsets[tile] = offset;
      a.counts[tile] = total;
    }
    __syncthreads();
    if (offset + total <= static_cast<unsigned long long>(a.capacity)) {
      int64_t round_begin = static_cast<int64_t>(offset);
#pragma unroll
      for (int round = 0; round < kRounds; ++round) {
        const int64_t i = range.begin + (round * kThreads + threadIdx.x) * kNeighbours;
        int64_t to = round_begin + of_round(before, round);
#pragma unroll
        for (int k = 0; k < kNeighbours; ++k) {
          if (wanted(i + k, values[round][k])) {
            a.candidate_indices[to] = static_cast<int32_t>(i + k);
            a.candidate_values[to++] = values[round][k];
          }
        }
        round_begin += of_round(sum, round);
      }
    }
    __syncthreads();  // before the next tile's offset
  }
  counts_of_second.Finish(a, false);
}

/// Calls body(valid, index, value) for the tile's candidates, or elements, in order, kThreads at a
/// time: all threads call it equally often.
template <typename T, typename Body>
__device__ void ForEachOfTile(const Arguments<T>& a, int64_t tile, const Body& body) {
  if (a.Gathered()) {
    const int count = a.counts[tile];
    const int64_t offset = static_cast<int64_t>(a.offsets[tile]);
    for (int first = 0; first < count; first += kThreads) {
      const int i = first + static_cast<int>(threadIdx.x);
      const bool valid = i < count;
      body(valid, valid ? a.candidate_indices[offset + i] : 0,
           valid ? a.candidate_values[offset + i] : T{0});
    }
    return;
  }
  const Range range = a.tiles[tile];
  for (int64_t first = range.begin; first < range.end; first += kThreads) {
    const int64_t i = first + threadIdx.x;
    const bool valid = i < range.end;
    body(valid, static_cast<int32_t>(i), valid ? a.template At<1>(i).lanes[0] : T{0});
  }
}

/// Finds where each tile's output begins, and how many ties it may take. One block.
template <typename T>
__device__ void PlaceTiles(const Arguments<T>& a) {
  using Scan = cub::BlockScan<long long, kThreads>;
  __shared__ typename Scan::TempStorage storage;
  const long long ties_wanted = a.selection->rank;
  const volatile TileCounts* const tile_counts = a.tile_counts;
  long long written = 0, ties_seen = 0;
  for (int64_t first = 0; first < a.tile_count; first += kThreads) {
    const int64_t tile = first + threadIdx.x;
    const bool valid = tile < a.tile_count;
    const int above = valid ? tile_counts[tile].above : 0;
    const int ties = valid ? tile_counts[tile].ties : 0;
    long long before = 0, sum = 0;
    Scan(storage).ExclusiveSum(static_cast<long long>(ties), before, sum);
    __syncthreads();
    const long long left = ties_wanted - (ties_seen + before);
    const long long taken = left < 0 ? 0 : left < ties ? left : ties;
    ties_seen += sum;
    Scan(storage).ExclusiveSum(above + taken, before, sum);
    __syncthreads();
    if (valid) {
      a.tile_begins[tile] = written + before;
      a.tile_counts[tile].ties = static_cast<int>(taken);
    }
    written += sum;
  }
}

/// Counts what of each tile lies above the k-th largest, and at it; then places the tiles.
template <typename T>
__global__ void __launch_bounds__(kThreads) CountKernel(Arguments<T> a) {
  __shared__ int above, ties;
  const KeyOfType<T> cut = a.selection->prefix;
  for (int64_t tile = blockIdx.x; tile < a.tile_count; tile += gridDim.x) {
    if (threadIdx.x == 0) above = ties = 0;
    __syncthreads();
    ForEachOfTile(a, tile, [&](bool valid, int32_t, T value) {
      const KeyOfType<T> key = KeyOf(value);
      const int more_above = __syncthreads_count(valid && key > cut);
      const int more_ties = __syncthreads_count(valid && key == cut);
      if (threadIdx.x == 0) {
        above += more_above;
        ties += more_ties;
      }
    });
    if (threadIdx.x == 0) a.tile_counts[tile] = {above, ties};
    __syncthreads();
  }
  if (IsLastBlock(a.finished_blocks)) PlaceTiles(a);
}

/// Writes what is chosen, in order.
template <typename T>
__global__ void __launch_bounds__(kThreads) WriteKernel(Arguments<T> a) {
  using Writer = ChosenWriter<T, kThreads>;
  __shared__ typename Writer::Scan::TempStorage storage;
  for (int64_t tile = blockIdx.x; tile < a.tile_count; tile += gridDim.x) {
    const TileCounts counts = a.tile_counts[tile];
    if (counts.above + counts.ties == 0) continue;
    Writer writer{.storage = storage,
                  .cut = a.selection->prefix,
                  .ties_left = counts.ties,
                  .to = a.tile_begins[tile],
                  .indices = a.indices,
                  .values = a.values};
    ForEachOfTile(a, tile,
                  [&](bool valid, int32_t index, T value) { writer.Add(valid, index, value); });
  }
}

template <typename T>
class CudaTopK : public TopK {
 public:
  CudaTopK(Device& device, const Queue& queue, const TopKShape& shape)
      : queue_(queue), k_(shape.k) {
    std::vector<Range> tiles;
    int64_t elements = 0;
    for (const Range& range : shape.ranges) {
      for (int64_t begin = range.begin; begin < range.end; begin += kTileSize) {
        tiles.push_back({begin, begin + kTileSize < range.end ? begin + kTileSize : range.end});
      }
      elements += range.size();
    }
    tile_count_ = static_cast<int64_t>(tiles.size());
    constexpr int64_t kSpare = 65536;
    capacity_ = 2 * k_ + kSpare < elements ? 2 * k_ + kSpare : elements;
    const auto allocate = [&](int64_t count, size_t size) {
      return device.Allocate(count * static_cast<int64_t>(size));
    };
    tiles_ = Upload(device, tiles);
    bins_ = allocate(kBins, sizeof(int));
    finished_blocks_ = allocate(1, sizeof(unsigned));
    selection_ = allocate(1, sizeof(Selection<T>));
    offsets_ = allocate(tile_count_, sizeof(unsigned long long));
    counts_ = allocate(tile_count_, sizeof(int));
    candidate_indices_ = allocate(capacity_, sizeof(int32_t));
    candidate_values_ = allocate(capacity_, sizeof(T));
    tile_counts_ = allocate(tile_count_, sizeof(TileCounts));
    tile_begins_ = allocate(tile_count_, sizeof(int64_t));
  }

  void Select(const CompressionInput& input, ConstView state, int state_factor, View indices,
              View values) override {
    if (tile_count_ == 0 || k_ == 0) return;
    const Arguments<T> a{.input = InputOf<T>(queue_, input),
                         .state = state_factor == 0 ? nullptr : state.as<T>(),
                         .state_factor = static_cast<T>(state_factor),
                         .aligned = AllAligned(input.values, input.parameters, input.added, state),
                         .tiles = static_cast<const Range*>(tiles_.data()),
                         .tile_count = tile_count_,
                         .k = k_,
                         .bins = static_cast<int*>(bins_.data()),
                         .finished_blocks = static_cast<unsigned*>(finished_blocks_.data()),
                         .selection = static_cast<Selection<T>*>(selection_.data()),
                         .capacity = capacity_,
                         .offsets = static_cast<unsigned long long*>(offsets_.data()),
                         .counts = static_cast<int*>(counts_.data()),
                         .candidate_indices = static_cast<int32_t*>(candidate_indices_.data()),
                         .candidate_values = static_cast<T*>(candidate_values_.data()),
                         .tile_counts = static_cast<TileCounts*>(tile_counts_.data()),
                         .tile_begins = static_cast<int64_t*>(tile_begins_.data()),
                         .indices = indices.as<int32_t>(),
                         .values = values.as<T>()};
    const Grid tiles = GridFor(queue_, tile_count_ * kThreads, kThreads);
    Digit digit{.shift = kKeyBits<T> - kDigitBits, .bits = kDigitBits};
    Launch("top_k_histogram", queue_, tiles, HistogramKernel<T>, a, digit, true);
    digit.shift -= kDigitBits;
    Launch("top_k_gather", queue_, tiles, GatherKernel<T>, a, digit);
    while (digit.shift > 0) {
      digit.bits = digit.shift < kDigitBits ? digit.shift : kDigitBits;
      digit.shift -= digit.bits;
      Launch("top_k_histogram", queue_, tiles, HistogramKernel<T>, a, digit, false);
    }
    Launch("top_k_count", queue_, tiles, CountKernel<T>, a);
    Launch("top_k_write", queue_, tiles, WriteKernel<T>, a);
  }

 private:
  Queue queue_;
  int64_t k_, tile_count_ = 0, capacity_ = 0;
  Buffer tiles_, bins_, finished_blocks_, selection_, offsets_, counts_, candidate_indices_,
      candidate_values_;
  Buffer tile_counts_, tile_begins_;
};

}  // namespace
}  // namespace thinwire::cuda

namespace thinwire {

std::unique_ptr<TopK> MakeCudaTopK(Device& device, const cuda::Queue& queue,
                                   const TopKShape& shape) {
  if (shape.type == DataType::kFloat64) {
    return std::make_unique<cuda::CudaTopK<double>>(device, queue, shape);
  }
  return std::make_unique<cuda::CudaTopK<float>>(device, queue, shape);
}

}  // namespace thinwire
