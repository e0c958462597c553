// The vectorised pieces of Winograd's convolutions with 3x3 filters, one set for each instruction
// set.
//
// A 4x4 tile of output needs a 6x6 tile of input. With the matrices A, B, G of isa/winograd.cpp
//   output tile      = Aᵀ [ Σ_c (G w Gᵀ) ⊙ (Bᵀ x B) ] A
//   filter gradient  = Gᵀ [ Σ_tiles (A y Aᵀ) ⊙ (Bᵀ x B) ] G
// so 36 products for a tile and a pair of channels stand for the 144 of the definition; over
// channels and tiles they are 36 matrix products, one for each position in the transformed tile.
//
// All channel counts are multiples of `lanes`. All functions work on one thread.
#pragma once

#include <cstdint>

namespace thinwire::cpu {

enum class WinogradForm : uint8_t {
  k4x4,                  // stride 1: 6x6 pixels to 4x4, 36 products for 144
  k2x2,                  // stride 1: 4x4 pixels to 2x2, 16 products for 36
  kStride2,              // 9x9 pixels to 4x4, 81 products for 144
  kStride2BackwardEven,  // its data gradient for an even padding: 5x5 output gradients to 8x8
  kStride2BackwardOdd,   // the same for an odd padding
};

/// NHWC images and a grid of tiles on them. Tiles are numbered (image, row, column); tile (i, j)
/// starts at pixel (step i - padding_height, step j - padding_width) with the form's step.
struct WinogradGrid {
  int64_t height, width, channels;  // of the images
  int64_t tile_rows, tile_columns;
  int64_t padding_height, padding_width;
};

/// Where a transformed value is: position * position + tile * tile + (channel / lanes) * block,
/// all in floats, `lanes` consecutive channels beside each other.
struct WinogradStrides {
  int64_t position, tile, block;
};

/// c = a b, or c += a b, with a [rows, depth], b [depth, columns], c [rows, columns].
/// Element (r, l) of `a` lies at
/// (l / a_block_depth) * a_block_stride + (l % a_block_depth) * a_depth_stride + r * row stride,
/// where the row stride is `lanes` for `multiply` and 1 for `multiply_transposed`.
/// `b` is cut into blocks of `lanes` columns, b_block_stride apart, each [depth][lanes].
struct GemmArguments {
  int64_t rows, columns, depth;
  const float* a;
  int64_t a_block_depth, a_block_stride, a_depth_stride;
  const float* b;
  int64_t b_block_stride;
  float* c;
  int64_t c_row_stride;
  bool accumulate;
};

struct WinogradKernels {
  const char* name;
  int64_t tile;              // step of the output's tiles, and their size
  int64_t positions;         // in the transformed tile
  int64_t filters;           // in the transformed filter; several positions may share one
  const uint8_t* filter_of;  // [positions]
  int64_t lanes;
  /// Rows that the matrix product takes at a time: tiles come best in multiples of it.
  int64_t rows;

  /// Bᵀ x B of `count` tiles from `first`. `zeros` has `channels` zeros, for pixels outside.
  void (*input)(const WinogradGrid& grid, const float* images, const float* zeros, int64_t first,
                int64_t count, float* v, const WinogradStrides& strides);
  /// A y Aᵀ, likewise.
  void (*gradient)(const WinogradGrid& grid, const float* images, const float* zeros, int64_t first,
                   int64_t count, float* z, const WinogradStrides& strides);
  /// Aᵀ m A plus bias[channel], for channels [begin, end); m starts at channel `begin`. `sink`
  /// takes `channels` floats: pixels outside.
  void (*output)(const WinogradGrid& grid, const float* m, const WinogradStrides& strides,
                 const float* bias, float* sink, int64_t begin, int64_t end, int64_t first,
                 int64_t count, float* images);
  /// G w Gᵀ of a KRSC filter, for columns [begin, end) of the matrices `b` whose depth runs over
  /// the input channels and whose columns run over the output channels. With `backward` these two
  /// change places and the filter is turned by 180 degrees.
  void (*filter)(const float* filter, int64_t out_channels, int64_t in_channels, bool backward,
                 int64_t begin, int64_t end, float* u, int64_t position_stride);
  /// Gᵀ m G for output channels [begin, end): m is [filters][out_channels][in_channels], the
  /// result KRSC.
  void (*filter_gradient)(const float* m, int64_t position_stride, int64_t in_channels,
                          int64_t begin, int64_t end, float* filter_gradient);
  void (*multiply)(const GemmArguments& arguments);
  void (*multiply_transposed)(const GemmArguments& arguments);
};

/// Those of the instruction set in use.
const WinogradKernels& Winograd(WinogradForm form);

}  // namespace thinwire::cpu
