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
  int64_t stride = 0;                       // from an output's weights to the next's, 4 n >= taps
  std::vector<int32_t> starts = {};         // an output's first input, counted from first_input
  std::vector<int32_t> weights = {};        // [outputs, stride], sums of 2^22 up to rounding

  int64_t outputs() const { return static_cast<int64_t>(starts.size()); }
  int64_t inputs() const { return last_input - first_input; }
};

/// Plans outputs [first, first + count) of `size` that the input's stretch [begin, end) becomes.
/// The filter sees the inputs that `begin` and `end` lie in or between, and none beyond, so that a
/// stretch of whole inputs gives what resizing a cropped image would.
/// @param begin, end In inputs, which are 0, …; begin < end.
ResampleAxis PlanResampling(double begin, double end, int64_t size, int64_t first, int64_t count);

/// The same with the outputs in reverse.
ResampleAxis Mirrored(ResampleAxis axis);

/// Resizes an image whose rows come one after another, and keeps no more of them than an output
/// row takes.
class Resampler {
 public:
  /// @param x, y Outlive this; y may not be mirrored.
  /// @param upside_down The first row becomes the output's last.
  /// @param output [y.outputs(), x.outputs(), 3].
  /// @param scratch Grows as needed; for reuse.
  Resampler(const ResampleAxis& x, const ResampleAxis& y, bool upside_down, uint8_t* output,
            std::vector<uint8_t>& scratch);

  /// Takes the next row, from y.first_input to y.last_input - 1. @param pixels x.inputs() pixels.
  void Add(const uint8_t* pixels);

 private:
  uint8_t* Kept(int64_t row) const { return kept_ + row % y_.taps * row_size_; }

  const ResampleAxis &x_, &y_;
  const bool upside_down_;
  const int64_t row_size_;
  uint8_t* const output_;
  uint8_t* kept_;                      // the last y.taps rows, resized, row r in place r mod y.taps
  std::vector<const uint8_t*> taken_;  // rows of one output
  int64_t rows_ = 0, done_ = 0;        // that came, and that went out
};

/// Resizes an image that is in memory. @param input Row y.first_input from column x.first_input on.
/// @param input_stride Bytes from row to row.
/// @param output, scratch As Resampler's.
void Resample(const ResampleAxis& x, const ResampleAxis& y, const uint8_t* input,
              int64_t input_stride, uint8_t* output, std::vector<uint8_t>& scratch);

}  // namespace thinwire
