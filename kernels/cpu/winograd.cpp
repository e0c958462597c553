// How the pieces of winograd_kernels.h are put together.
//
// Forward and backward data are the same pass, with the filter turned and its channels exchanged
// (and, with stride 2, another form).
// The pass takes a block of tiles at a time: input transform (V), a matrix product
// with the transformed filter (U) at each position giving M, output transform; V and M of a block
// stay in a core's L2 cache. Blocks are independent of each other. Where U is much larger than a
// cache ("by columns"), the roles change: all tiles are transformed once, and each job transforms
// the filter for a panel of output channels just before it is used, so that U never reaches memory.
//
// The filter's gradient sums over tiles. Few channels ("by images"): a fixed number of groups of
// tiles, each with sums of its own, added up in order at the end. Many channels ("by positions"):
// chunks of tiles are transformed by all threads together, and then each
// position is summed by one thread, so every sum runs over the tiles in order.
#include "kernels/cpu/winograd.h"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <optional>

#include "kernels/cpu/isa.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/winograd_kernels.h"

namespace thinwire::cpu {

namespace portable {
const WinogradKernels& Winograd(WinogradForm form);
}
namespace avx2 {
const WinogradKernels& Winograd(WinogradForm form);
}
namespace avx512 {
const WinogradKernels& Winograd(WinogradForm form);
}

const WinogradKernels& Winograd(WinogradForm form) {
#if defined(THINWIRE_HAS_avx512)
  if (std::strcmp(Isa().name, "avx512") == 0) return avx512::Winograd(form);
#endif
#if defined(THINWIRE_HAS_avx2)
  if (std::strcmp(Isa().name, "avx2") == 0) return avx2::Winograd(form);
#endif
  return portable::Winograd(form);
}

namespace {

// Measured on Zen 5 (1 MiB of L2 cache a core, 32 MiB of L3) with the layers of CIFAR networks.
constexpr int64_t kPassBlockBytes = 512 << 10;    // V and M of a block of tiles
constexpr int64_t kFilterBlockBytes = 1 << 20;    // V and Z of a block, by images
constexpr int64_t kFilterChunkBytes = 12 << 20;   // V and Z of a chunk, by positions
constexpr int64_t kPassMaxRows = 8;               // multiples of the product's rows in a block
constexpr int64_t kColumnBlock = 128;             // tiles that go by columns
constexpr int64_t kColumnTiles = 1024;            // up to which V of all tiles is kept
constexpr int64_t kColumnChannels = 256 * 512;    // in times out channels from which U is too large
constexpr int64_t kPositionChannels = 128 * 128;  // likewise for the sums of the filter's gradient
constexpr int64_t kStride2Channels = 32 * 64;     // from which the products outweigh the transforms
constexpr int64_t kGroups = 8;                    // of tiles with sums of their own, by images

int64_t CeilDivide(int64_t a, int64_t b) { return (a + b - 1) / b; }
int64_t RoundUp(int64_t a, int64_t b) { return CeilDivide(a, b) * b; }

/// Floats between positions: padded so that they fall into different cache sets.
int64_t PositionStride(int64_t size) { return RoundUp(size, 32) + 16; }

/// Bytes of a tile's transformed values on both sides.
int64_t TileBytes(const WinogradKernels& kernels, const WinogradGrid& in, const WinogradGrid& out) {
  return kernels.positions * static_cast<int64_t>(sizeof(float)) * (in.channels + out.channels);
}

/// Floats of [positions][rows][columns] with the padding of PositionStride.
int64_t TransformedSize(int64_t positions, int64_t rows, int64_t columns) {
  return positions * PositionStride(rows * columns);
}

/// Hands out aligned pieces of the workspace. Without a base it only counts their bytes.
class Pieces {
 public:
  explicit Pieces(void* base) : base_(static_cast<std::byte*>(base)) {}
  float* Take(int64_t floats) {
    std::byte* piece = base_ == nullptr ? nullptr : base_ + bytes_;
    bytes_ += RoundUp(floats * static_cast<int64_t>(sizeof(float)), 128);
    return reinterpret_cast<float*>(piece);
  }
  int64_t bytes() const { return bytes_; }

 private:
  std::byte* base_;
  int64_t bytes_ = 0;
};

void ZeroFloats(float* data, int64_t count) {
  std::memset(data, 0, static_cast<size_t>(count) * sizeof(float));
}

/// Asks for the lines of part `i` of `count` of a range of memory, into the L2 cache.
void PrefetchPart(const float* data, int64_t size, int64_t i, int64_t count) {
  constexpr int64_t line = 16;
  for (int64_t j = size * i / count / line; j < size * (i + 1) / count / line; ++j) {
    __builtin_prefetch(data + j * line, 0, 2);
  }
}

/// Part `i` of `count` nearly equal ones of [0, size).
struct Range {
  int64_t begin, end;
};
Range Part(int64_t size, int64_t i, int64_t count) {
  return {size * i / count, size * (i + 1) / count};
}

/// Forward, or backward data: `in` images to `out` images.
class Pass {
 public:
  Pass(Device& device, const WinogradKernels& kernels, const WinogradGrid& in,
       const WinogradGrid& out, int64_t batch, bool backward)
      : device_(device),
        kernels_(kernels),
        in_(in),
        out_(out),
        backward_(backward),
        tiles_(batch * in.tile_rows * in.tile_columns),
        by_columns_(in.channels * out.channels >= kColumnChannels && tiles_ <= kColumnTiles),
        jobs_(ThreadCount()) {
    const int64_t rows = kPassBlockBytes / TileBytes(kernels_, in, out) / kernels_.rows;
    block_ =
        by_columns_ ? kColumnBlock : std::clamp<int64_t>(rows, 1, kPassMaxRows) * kernels_.rows;
    block_ = std::min(block_, std::max<int64_t>(tiles_, 1));
    Pieces pieces(nullptr);
    Plan(pieces);
    device.ReserveWorkspace(pieces.bytes());
  }

  void Run(const float* images, const float* filter, const float* bias, float* result) const {
    if (tiles_ == 0) return;
    Pieces pieces(device_.workspace().data);
    const Memory memory = Plan(pieces);
    ZeroFloats(memory.zeros, std::max(in_.channels, out_.channels));
    if (bias == nullptr) bias = memory.zeros;
    if (by_columns_) {
      RunByColumns(images, filter, bias, result, memory);
    } else {
      RunByTiles(images, filter, bias, result, memory);
    }
  }

  const char* name() const { return kernels_.name; }

 private:
  struct Memory {
    float *zeros, *sink, *v, *u, *m;
    int64_t v_job, u_job, m_job;  // floats for each job, 0 for what they share
  };

  Memory Plan(Pieces& pieces) const {
    const int64_t columns = by_columns_ ? panel() : out_.channels;
    const int64_t v_size =
        TransformedSize(kernels_.positions, by_columns_ ? tiles_ : block_, in_.channels);
    const int64_t u_size = TransformedSize(kernels_.filters, in_.channels, columns);
    const int64_t m_size = TransformedSize(kernels_.positions, block_, columns);
    Memory memory{};
    memory.zeros = pieces.Take(std::max(in_.channels, out_.channels));
    memory.sink = pieces.Take(jobs_ * out_.channels);
    memory.v_job = by_columns_ ? 0 : v_size;
    memory.u_job = by_columns_ ? u_size : 0;
    memory.m_job = m_size;
    memory.v = pieces.Take(by_columns_ ? v_size : jobs_ * v_size);
    memory.u = pieces.Take(by_columns_ ? jobs_ * u_size : u_size);
    memory.m = pieces.Take(jobs_ * m_size);
    return memory;
  }

  /// Of the images, about: where the pixels of a tile start, to prefetch them.
  int64_t floats_per_tile() const {
    return in_.height * in_.width * in_.channels / (in_.tile_rows * in_.tile_columns);
  }
  /// Columns that a job takes at a time when it goes by columns.
  int64_t panel() const { return 2 * kernels_.lanes; }

  void TransformFilter(const float* filter, int64_t begin, int64_t end, float* u,
                       int64_t position_stride) const {
    const int64_t k = backward_ ? in_.channels : out_.channels;
    const int64_t c = backward_ ? out_.channels : in_.channels;
    kernels_.filter(filter, k, c, backward_, begin, end, u, position_stride);
  }

  /// m = v u at every position, for `count` tiles and `columns` output channels. Meanwhile `next`,
  /// what the next block of tiles reads, is fetched.
  void Multiply(const float* v, const WinogradStrides& v_strides, const float* u,
                int64_t u_position, int64_t count, int64_t columns, float* m,
                const WinogradStrides& m_strides, const float* next = nullptr,
                int64_t next_size = 0) const {
    for (int64_t position = 0; position < kernels_.positions; ++position) {
      PrefetchPart(next, next_size, position, kernels_.positions);
      kernels_.multiply({.rows = count,
                         .columns = columns,
                         .depth = in_.channels,
                         .a = v + position * v_strides.position,
                         .a_block_depth = kernels_.lanes,
                         .a_block_stride = v_strides.block,
                         .a_depth_stride = 1,
                         .b = u + kernels_.filter_of[position] * u_position,
                         .b_block_stride = in_.channels * kernels_.lanes,
                         .c = m + position * m_strides.position,
                         .c_row_stride = m_strides.tile,
                         .accumulate = false});
    }
  }

  void RunByTiles(const float* images, const float* filter, const float* bias, float* result,
                  const Memory& memory) const {
    const int64_t lanes = kernels_.lanes, columns = out_.channels;
    const int64_t u_position = PositionStride(in_.channels * columns);
    ParallelFor(columns, lanes, [&](int64_t begin, int64_t end) {
      TransformFilter(filter, begin, end, memory.u + begin * in_.channels, u_position);
    });
    const WinogradStrides v_strides{PositionStride(block_ * in_.channels), lanes, block_ * lanes};
    const WinogradStrides m_strides{PositionStride(block_ * columns), columns, lanes};
    ParallelChunks(jobs_, [&](int64_t job) {
      float* v = memory.v + job * memory.v_job;
      float* m = memory.m + job * memory.m_job;
      const Range blocks = Part(CeilDivide(tiles_, block_), job, jobs_);
      for (int64_t block = blocks.begin; block < blocks.end; ++block) {
        const int64_t first = block * block_, count = std::min(block_, tiles_ - first);
        kernels_.input(in_, images, memory.zeros, first, count, v, v_strides);
        const int64_t next = first + count, next_count = std::min(block_, tiles_ - next);
        Multiply(v, v_strides, memory.u, u_position, count, columns, m, m_strides,
                 images + next * floats_per_tile(), next_count * floats_per_tile());
        kernels_.output(out_, m, m_strides, bias, memory.sink + job * columns, 0, columns, first,
                        count, result);
      }
    });
  }

  void RunByColumns(const float* images, const float* filter, const float* bias, float* result,
                    const Memory& memory) const {
    const int64_t lanes = kernels_.lanes;
    const WinogradStrides v_strides{PositionStride(tiles_ * in_.channels), lanes, tiles_ * lanes};
    ParallelFor(tiles_, 4, [&](int64_t begin, int64_t end) {
      kernels_.input(in_, images, memory.zeros, begin, end - begin, memory.v + begin * lanes,
                     v_strides);
    });
    const int64_t u_position = PositionStride(panel() * in_.channels);
    ParallelChunks(jobs_, [&](int64_t job) {
      float* u = memory.u + job * memory.u_job;
      float* m = memory.m + job * memory.m_job;
      const Range panels = Part(CeilDivide(out_.channels, panel()), job, jobs_);
      for (int64_t i = panels.begin; i < panels.end; ++i) {
        const int64_t begin = i * panel(), end = std::min(out_.channels, begin + panel());
        TransformFilter(filter, begin, end, u, u_position);
        const WinogradStrides m_strides{PositionStride(block_ * panel()), end - begin, lanes};
        for (int64_t first = 0; first < tiles_; first += block_) {
          const int64_t count = std::min(block_, tiles_ - first);
          Multiply(memory.v + first * lanes, v_strides, u, u_position, count, end - begin, m,
                   m_strides);
          kernels_.output(out_, m, m_strides, bias, memory.sink + job * out_.channels, begin, end,
                          first, count, result);
        }
      }
    });
  }

  Device& device_;
  const WinogradKernels& kernels_;
  WinogradGrid in_, out_;
  bool backward_;
  int64_t tiles_;
  bool by_columns_;
  int64_t jobs_, block_ = 0;
};

/// The filter's gradient, from input images `in` and output gradients `out`.
class FilterPass {
 public:
  FilterPass(Device& device, const WinogradKernels& kernels, const WinogradGrid& in,
             const WinogradGrid& out, int64_t batch)
      : device_(device),
        kernels_(kernels),
        in_(in),
        out_(out),
        tiles_(batch * in.tile_rows * in.tile_columns),
        by_positions_(in.channels * out.channels >= kPositionChannels),
        jobs_(ThreadCount()) {
    block_ = by_positions_
                 ? std::clamp<int64_t>(kFilterChunkBytes / TileBytes(kernels_, in, out), 64, 1024)
                 : std::clamp<int64_t>(kFilterBlockBytes / TileBytes(kernels_, in, out), 24, 128);
    block_ = std::min(block_, std::max<int64_t>(tiles_, 1));
    groups_ = by_positions_ ? 1 : std::min(CeilDivide(tiles_, block_), kGroups);
    Pieces pieces(nullptr);
    Plan(pieces);
    device.ReserveWorkspace(pieces.bytes());
  }

  void Run(const float* images, const float* output_gradient, float* filter_gradient) const {
    const int64_t c = in_.channels, k = out_.channels;
    if (tiles_ == 0) {
      ZeroFloats(filter_gradient, k * 9 * c);
      return;
    }
    Pieces pieces(device_.workspace().data);
    const Memory memory = Plan(pieces);
    ZeroFloats(memory.zeros, std::max(c, k));
    if (by_positions_) {
      SumByPositions(images, output_gradient, memory);
    } else {
      SumByImages(images, output_gradient, memory);
    }
    const int64_t sum_position = PositionStride(c * k);
    ParallelFor(k, 4, [&](int64_t begin, int64_t end) {
      for (int64_t group = 1; group < groups_; ++group) {
        for (int64_t f = 0; f < kernels_.filters; ++f) {
          float* total = memory.sums + f * sum_position + begin * c;
          Isa().add(total, total + group * memory.sums_group, false, total, (end - begin) * c,
                    false);
        }
      }
      kernels_.filter_gradient(memory.sums, sum_position, c, begin, end, filter_gradient);
    });
  }

  const char* name() const { return kernels_.name; }

 private:
  struct Memory {
    float *zeros, *v, *z, *sums;
    int64_t v_job, z_job, sums_group;
  };

  Memory Plan(Pieces& pieces) const {
    Memory memory{};
    memory.zeros = pieces.Take(std::max(in_.channels, out_.channels));
    memory.v_job = TransformedSize(kernels_.positions, block_, in_.channels);
    memory.z_job = TransformedSize(kernels_.positions, block_, out_.channels);
    memory.sums_group = TransformedSize(kernels_.filters, in_.channels, out_.channels);
    const int64_t jobs = by_positions_ ? 1 : jobs_;
    memory.v = pieces.Take(jobs * memory.v_job);
    memory.z = pieces.Take(jobs * memory.z_job);
    memory.sums = pieces.Take(groups_ * memory.sums_group);
    return memory;
  }

  WinogradStrides v_strides() const {
    return {PositionStride(block_ * in_.channels), kernels_.lanes, block_ * kernels_.lanes};
  }
  WinogradStrides z_strides() const {
    return {PositionStride(block_ * out_.channels), out_.channels, kernels_.lanes};
  }

  void Transform(const float* images, const float* output_gradient, const float* zeros,
                 int64_t first, int64_t count, float* v, float* z) const {
    kernels_.input(in_, images, zeros, first, count, v, v_strides());
    kernels_.gradient(out_, output_gradient, zeros, first, count, z, z_strides());
  }

  /// sums = zᵀ v for rows `rows` of one transformed filter, or added to it: the positions that
  /// share the filter one after the other.
  void Multiply(const float* v, const float* z, int64_t count, int64_t filter, Range rows,
                bool accumulate, float* sums) const {
    for (int64_t position = 0; position < kernels_.positions; ++position) {
      if (kernels_.filter_of[position] != filter) continue;
      kernels_.multiply_transposed({.rows = rows.end - rows.begin,
                                    .columns = in_.channels,
                                    .depth = count,
                                    .a = z + position * z_strides().position + rows.begin,
                                    .a_block_depth = count,
                                    .a_block_stride = 0,
                                    .a_depth_stride = out_.channels,
                                    .b = v + position * v_strides().position,
                                    .b_block_stride = v_strides().block,
                                    .c = sums +
                                         filter * PositionStride(in_.channels * out_.channels) +
                                         rows.begin * in_.channels,
                                    .c_row_stride = in_.channels,
                                    .accumulate = accumulate});
      accumulate = true;
    }
  }

  void SumByImages(const float* images, const float* output_gradient, const Memory& memory) const {
    const int64_t blocks = CeilDivide(tiles_, block_);
    ParallelChunks(jobs_, [&](int64_t job) {
      float* v = memory.v + job * memory.v_job;
      float* z = memory.z + job * memory.z_job;
      const Range groups = Part(groups_, job, jobs_);
      for (int64_t group = groups.begin; group < groups.end; ++group) {
        const Range range = Part(blocks, group, groups_);
        for (int64_t block = range.begin; block < range.end; ++block) {
          const int64_t first = block * block_, count = std::min(block_, tiles_ - first);
          Transform(images, output_gradient, memory.zeros, first, count, v, z);
          for (int64_t filter = 0; filter < kernels_.filters; ++filter) {
            Multiply(v, z, count, filter, {0, out_.channels}, block != range.begin,
                     memory.sums + group * memory.sums_group);
          }
        }
      }
    });
  }

  void SumByPositions(const float* images, const float* output_gradient,
                      const Memory& memory) const {
    // Filters with several positions are more work than others: every job takes a part of each.
    const int64_t parts = kernels_.filters == kernels_.positions
                              ? 1
                              : std::min(jobs_, out_.channels / kernels_.lanes);
    for (int64_t first = 0; first < tiles_; first += block_) {
      const int64_t count = std::min(block_, tiles_ - first);
      ParallelFor(count, 4, [&](int64_t begin, int64_t end) {
        Transform(images, output_gradient, memory.zeros, first + begin, end - begin,
                  memory.v + begin * v_strides().tile, memory.z + begin * z_strides().tile);
      });
      ParallelChunks(parts * kernels_.filters, [&](int64_t i) {
        Multiply(memory.v, memory.z, count, i % kernels_.filters,
                 Part(out_.channels, i / kernels_.filters, parts), first != 0, memory.sums);
      });
    }
  }

  Device& device_;
  const WinogradKernels& kernels_;
  WinogradGrid in_, out_;
  int64_t tiles_;
  bool by_positions_;
  int64_t jobs_, block_ = 0, groups_ = 1;
};

/// The bias's gradient: sums over pixels, in float64 over chunks of fixed size.
class BiasPass {
 public:
  BiasPass(Device& device, const ConvolutionShape& shape)
      : device_(device),
        pixels_(shape.batch * shape.out_height() * shape.out_width()),
        channels_(shape.out_channels) {
    device.ReserveWorkspace((2 * chunks() + 1) * channels_ * static_cast<int64_t>(sizeof(double)));
  }

  /// `bias_gradient` is null where there is no bias.
  void Run(const float* output_gradient, float* bias_gradient) const {
    if (bias_gradient == nullptr) return;
    double* sums =
        static_cast<double*>(device_.workspace().data);  // [chunk][sum, squares][channel]
    const float* zeros = reinterpret_cast<float*>(sums + 2 * chunks() * channels_);
    std::memset(sums, 0, static_cast<size_t>((2 * chunks() + 1) * channels_) * sizeof(double));
    ParallelFor(pixels_, kChunk, [&](int64_t begin, int64_t end) {
      double* sum = sums + begin / kChunk * 2 * channels_;
      Isa().moments(output_gradient + begin * channels_, end - begin, channels_, zeros, sum,
                    sum + channels_);
    });
    for (int64_t c = 0; c < channels_; ++c) {
      double total = 0;
      for (int64_t chunk = 0; chunk < chunks(); ++chunk) total += sums[2 * chunk * channels_ + c];
      bias_gradient[c] = static_cast<float>(total);
    }
  }

 private:
  static constexpr int64_t kChunk = 2048;  // pixels
  int64_t chunks() const { return CeilDivide(pixels_, kChunk); }

  Device& device_;
  int64_t pixels_, channels_;
};

/// Products of the definition along one side, without those with padding.
int64_t DirectProducts(int64_t size, int64_t out_size, int64_t stride, int64_t padding) {
  int64_t products = 0;
  for (int64_t i = 0; i < out_size; ++i) {
    const int64_t begin = i * stride - padding;
    products += std::max<int64_t>(0, std::min(size, begin + 3) - std::max<int64_t>(0, begin));
  }
  return products;
}

/// The form that needs the fewest products for an image and a pair of channels; none if the
/// definition needs fewer.
std::optional<WinogradForm> ChooseForm(const ConvolutionShape& s) {
  std::optional<WinogradForm> best;
  int64_t fewest = DirectProducts(s.height, s.out_height(), s.stride_height, s.padding_height) *
                   DirectProducts(s.width, s.out_width(), s.stride_width, s.padding_width);
  const auto consider = [&](WinogradForm form) {
    const WinogradKernels& kernels = Winograd(form);
    const int64_t products = CeilDivide(s.out_height(), kernels.tile) *
                             CeilDivide(s.out_width(), kernels.tile) * kernels.positions;
    if (products > fewest) return;
    fewest = products;
    best = form;
  };
  if (s.stride_height == 1) {
    consider(WinogradForm::k2x2);
    consider(WinogradForm::k4x4);
  } else if (s.padding_height == s.padding_width &&
             s.in_channels * s.out_channels >= kStride2Channels) {
    consider(WinogradForm::kStride2);
  }
  return best;
}

class WinogradConvolution : public Convolution {
 public:
  WinogradConvolution(Device& device, const ConvolutionShape& s, WinogradForm form)
      : bias_(device, s),
        forward_(device, Winograd(form), Input(s, form), Output(s, form), s.batch, false),
        data_(device, Winograd(BackwardForm(s, form)), BackwardInput(s, form),
              BackwardOutput(s, form), s.batch, true),
        weights_(device, Winograd(form), Input(s, form), Output(s, form), s.batch) {}

  void Forward(ConstView input, ConstView filter, ConstView bias, View output) override {
    forward_.Run(input.as<float>(), filter.as<float>(), bias.as<float>(), output.as<float>());
  }
  void BackwardData(ConstView output_gradient, ConstView filter, View input_gradient) override {
    data_.Run(output_gradient.as<float>(), filter.as<float>(), nullptr, input_gradient.as<float>());
  }
  void BackwardWeights(ConstView input, ConstView output_gradient, View filter_gradient,
                       View bias_gradient) override {
    bias_.Run(output_gradient.as<float>(), bias_gradient.as<float>());
    weights_.Run(input.as<float>(), output_gradient.as<float>(), filter_gradient.as<float>());
  }
  const char* algorithm(int direction) const override {
    return direction == 0 ? forward_.name() : direction == 1 ? data_.name() : weights_.name();
  }

 private:
  static WinogradGrid Input(const ConvolutionShape& s, WinogradForm form) {
    const int64_t tile = Winograd(form).tile;
    return {.height = s.height,
            .width = s.width,
            .channels = s.in_channels,
            .tile_rows = CeilDivide(s.out_height(), tile),
            .tile_columns = CeilDivide(s.out_width(), tile),
            .padding_height = s.padding_height,
            .padding_width = s.padding_width};
  }
  static WinogradGrid Output(const ConvolutionShape& s, WinogradForm form) {
    WinogradGrid grid = Input(s, form);
    grid.height = s.out_height();
    grid.width = s.out_width();
    grid.channels = s.out_channels;
    grid.padding_height = grid.padding_width = 0;
    return grid;
  }

  static WinogradForm BackwardForm(const ConvolutionShape& s, WinogradForm form) {
    if (form != WinogradForm::kStride2) return form;
    return s.padding_height % 2 == 0 ? WinogradForm::kStride2BackwardEven
                                     : WinogradForm::kStride2BackwardOdd;
  }
  /// Output gradients as the input of the pass that gives input gradients.
  static WinogradGrid BackwardInput(const ConvolutionShape& s, WinogradForm form) {
    WinogradGrid grid = BackwardOutput(s, form);
    grid.height = s.out_height();
    grid.width = s.out_width();
    grid.channels = s.out_channels;
    if (form == WinogradForm::kStride2) {
      // The first gradient that the first pixel's tile reads: see Stride2Backward.
      grid.padding_height = grid.padding_width = s.padding_height == 0 ? 1 : 0;
    } else {
      grid.padding_height = 2 - s.padding_height;
      grid.padding_width = 2 - s.padding_width;
    }
    return grid;
  }
  static WinogradGrid BackwardOutput(const ConvolutionShape& s, WinogradForm form) {
    const int64_t tile = Winograd(BackwardForm(s, form)).tile;
    return {.height = s.height,
            .width = s.width,
            .channels = s.in_channels,
            .tile_rows = CeilDivide(s.height, tile),
            .tile_columns = CeilDivide(s.width, tile),
            .padding_height = 0,
            .padding_width = 0};
  }

  BiasPass bias_;
  Pass forward_, data_;
  FilterPass weights_;
};

}  // namespace

bool WinogradApplies(const ConvolutionShape& s) {
  const int64_t lanes = Winograd(WinogradForm::k4x4).lanes;
  return s.kernel_height == 3 && s.kernel_width == 3 && s.stride_height == s.stride_width &&
         s.stride_height <= 2 && s.padding_height <= 2 && s.padding_width <= 2 && s.groups == 1 &&
         s.in_channels % lanes == 0 && s.out_channels % lanes == 0 && ChooseForm(s).has_value();
}

std::unique_ptr<Convolution> MakeWinogradConvolution(Device& device,
                                                     const ConvolutionShape& shape) {
  return std::make_unique<WinogradConvolution>(device, shape, *ChooseForm(shape));
}

}  // namespace thinwire::cpu
