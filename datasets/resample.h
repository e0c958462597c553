// Resizing of 8-bit RGB with an antialiased triangle filter ("bilinear"), as Pillow and torchvision
// do: rows first, then columns, in 22-bit fixed point, rounded to bytes after each.
#pragma once

#include <cstdint>
#include <vector>

namespace thinwire {

/// What a range of output positions along one axis takes from the input.
struct ResampleAxis {
  int64_t first_input = 0, last_input = 0;  // inputs [first, last) that are needed
  int64_t taps = 0;                         // weights an output, padded with zeros
  std::vector<int32_t> starts = {};         // an output's first input, counted from first_input
  std::vector<int32_t> weights = {};        // [outputs, taps], sums of 2^22 up to rounding

  int64_t outputs() const { return static_cast<int64_t>(starts.size()); }
};

/// Plans outputs [first, first + count) of `size` that the input's stretch [begin, end) becomes.
/// The filter sees the inputs that `begin` and `end` lie in or between, and none beyond, so that a
/// stretch of whole inputs gives what resizing a cropped image would.
/// @param begin, end In inputs, which are 0, …; begin < end.
ResampleAxis PlanResampling(double begin, double end, int64_t size, int64_t first, int64_t count);

/// Resizes. @param input Row x.first_input of columns from x.first_input on, [.., 3].
/// @param input_stride Bytes from row to row.
/// @param output [y.outputs(), x.outputs(), 3].
/// @param scratch Grows as needed; for reuse.
void Resample(const ResampleAxis& x, const ResampleAxis& y, const uint8_t* input,
              int64_t input_stride, uint8_t* output, std::vector<uint8_t>& scratch);

}  // namespace thinwire
