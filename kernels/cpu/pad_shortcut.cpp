#include "kernels/cpu/pad_shortcut.h"

#include <algorithm>
#include <cassert>

#include "kernels/cpu/parallel.h"

namespace thinwire {
namespace {

class CpuPadShortcut : public PadShortcut {
 public:
  explicit CpuPadShortcut(const PadShortcutShape& shape) : shape_(shape) {}

  void Forward(ConstView x, View y) override {
    assert(x.size == shape_.batch * shape_.height * shape_.width * shape_.channels);
    ForEachRow(shape_.out_height(), [&](int64_t image, int64_t row) {
      const float* source = InputRow(x.as<float>(), image, row * shape_.stride);
      float* out = OutputRow(y.as<float>(), image, row);
      for (int64_t column = 0; column < shape_.out_width(); ++column) {
        out = std::fill_n(out, front(), 0.0f);
        out = std::copy_n(source, shape_.channels, out);
        out = std::fill_n(out, shape_.out_channels - shape_.channels - front(), 0.0f);
        source += shape_.stride * shape_.channels;
      }
    });
  }

  void Backward(ConstView y_gradient, View x_gradient) override {
    assert(x_gradient.size == shape_.batch * shape_.height * shape_.width * shape_.channels);
    ForEachRow(shape_.height, [&](int64_t image, int64_t row) {
      float* out = InputRow(x_gradient.as<float>(), image, row);
      const bool sampled_row = row % shape_.stride == 0;
      for (int64_t column = 0; column < shape_.width; ++column) {
        if (sampled_row && column % shape_.stride == 0) {
          const float* source = OutputRow(y_gradient.as<float>(), image, row / shape_.stride) +
                                column / shape_.stride * shape_.out_channels + front();
          out = std::copy_n(source, shape_.channels, out);
        } else {
          out = std::fill_n(out, shape_.channels, 0.0f);
        }
      }
    });
  }

 private:
  int64_t front() const { return (shape_.out_channels - shape_.channels) / 2; }

  template <typename T>
  T* InputRow(T* base, int64_t image, int64_t row) const {
    return base + (image * shape_.height + row) * shape_.width * shape_.channels;
  }
  template <typename T>
  T* OutputRow(T* base, int64_t image, int64_t row) const {
    return base + (image * shape_.out_height() + row) * shape_.out_width() * shape_.out_channels;
  }

  template <typename Function>
  void ForEachRow(int64_t rows, const Function& function) const {
    constexpr int64_t chunk_elements = 16384;
    const int64_t grain = std::max<int64_t>(1, chunk_elements / (shape_.width * shape_.channels));
    cpu::ParallelFor(shape_.batch * rows, grain, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) function(i / rows, i % rows);
    });
  }

  const PadShortcutShape shape_;
};

}  // namespace

std::unique_ptr<PadShortcut> MakeCpuPadShortcut(const PadShortcutShape& shape) {
  CheckShape(shape);
  return std::make_unique<CpuPadShortcut>(shape);
}

}  // namespace thinwire
