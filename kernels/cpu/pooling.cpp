#include "kernels/cpu/pooling.h"

#include <algorithm>
#include <cassert>

#include "kernels/cpu/isa.h"
#include "kernels/cpu/parallel.h"

namespace thinwire {
namespace {

using cpu::Isa;

constexpr int64_t kChunkElements = 16384;

class CpuPooling : public Pooling {
 public:
  explicit CpuPooling(const PoolingShape& s) : shape_(s) {
    arguments_.height = s.height;
    arguments_.width = s.width;
    arguments_.channels = s.channels;
    arguments_.out_height = s.out_height();
    arguments_.out_width = s.out_width();
    arguments_.window_height = s.window_height;
    arguments_.window_width = s.window_width;
    arguments_.stride_height = s.stride_height;
    arguments_.stride_width = s.stride_width;
    arguments_.padding_height = s.padding_height;
    arguments_.padding_width = s.padding_width;
    arguments_.count_include_padding = s.count_include_padding;
  }

  int64_t saved_bytes() const override {
    return max() ? shape_.batch * shape_.out_height() * out_row() : 0;
  }

  void Forward(ConstView x, View y, View saved) override {
    assert(x.size == shape_.batch * shape_.height * in_row());
    assert(y.size == shape_.batch * shape_.out_height() * out_row());
    ForEachRow(shape_.out_height(), in_row() * shape_.stride_height, [&](int64_t n, int64_t row) {
      const float* image = x.as<float>() + n * shape_.height * in_row();
      const int64_t out = (n * shape_.out_height() + row) * out_row();
      if (max()) {
        uint8_t* positions = saved ? saved.as<uint8_t>() + out : nullptr;
        Isa().max_pooling_row(arguments_, image, row, y.as<float>() + out, positions);
      } else {
        Isa().average_pooling_row(arguments_, image, row, y.as<float>() + out);
      }
    });
  }

  void Backward(ConstView y_gradient, ConstView saved, View x_gradient) override {
    ForEachRow(shape_.height, in_row(), [&](int64_t n, int64_t row) {
      const int64_t out = n * shape_.out_height() * out_row();
      float* destination = x_gradient.as<float>() + (n * shape_.height + row) * in_row();
      if (max()) {
        Isa().max_pooling_backward_row(arguments_, y_gradient.as<float>() + out,
                                       saved.as<uint8_t>() + out, row, destination);
      } else {
        Isa().average_pooling_backward_row(arguments_, y_gradient.as<float>() + out, row,
                                           destination);
      }
    });
  }

 private:
  bool max() const { return shape_.kind == PoolingShape::Kind::kMax; }
  int64_t in_row() const { return shape_.width * shape_.channels; }
  int64_t out_row() const { return shape_.out_width() * shape_.channels; }

  /// Calls function(image, row) for all rows of all images; `cost` is elements touched by a row.
  template <typename Function>
  void ForEachRow(int64_t rows, int64_t cost, const Function& function) const {
    const int64_t grain = std::max<int64_t>(1, kChunkElements / std::max<int64_t>(1, cost));
    cpu::ParallelFor(shape_.batch * rows, grain, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) function(i / rows, i % rows);
    });
  }

  const PoolingShape shape_;
  cpu::PoolingArguments arguments_{};
};

class CpuGlobalAveragePooling : public GlobalAveragePooling {
 public:
  explicit CpuGlobalAveragePooling(const GlobalAveragePoolingShape& shape) : shape_(shape) {}

  void Forward(ConstView x, View y) override {
    assert(x.size == shape_.batch * image() && y.size == shape_.batch * shape_.channels);
    const float factor = 1.0f / static_cast<float>(shape_.pixels);
    ForEachImage([&](int64_t n) {
      Isa().mean_rows(x.as<float>() + n * image(), shape_.pixels, shape_.channels, factor,
                      y.as<float>() + n * shape_.channels);
    });
  }

  void Backward(ConstView y_gradient, View x_gradient) override {
    assert(x_gradient.size == shape_.batch * image());
    const float factor = 1.0f / static_cast<float>(shape_.pixels);
    ForEachImage([&](int64_t n) {
      float* first = x_gradient.as<float>() + n * image();
      Isa().float32.scale(y_gradient.as<float>() + n * shape_.channels, factor, first,
                          shape_.channels, false);
      for (int64_t pixel = 1; pixel < shape_.pixels; ++pixel) {
        std::copy(first, first + shape_.channels, first + pixel * shape_.channels);
      }
    });
  }

 private:
  int64_t image() const { return shape_.pixels * shape_.channels; }

  template <typename Function>
  void ForEachImage(const Function& function) const {
    const int64_t grain = std::max<int64_t>(1, kChunkElements / image());
    cpu::ParallelFor(shape_.batch, grain, [&](int64_t begin, int64_t end) {
      for (int64_t n = begin; n < end; ++n) function(n);
    });
  }

  const GlobalAveragePoolingShape shape_;
};

}  // namespace

std::unique_ptr<Pooling> MakeCpuPooling(const PoolingShape& shape) {
  CheckShape(shape);
  return std::make_unique<CpuPooling>(shape);
}

std::unique_ptr<GlobalAveragePooling> MakeCpuGlobalAveragePooling(
    const GlobalAveragePoolingShape& shape) {
  CheckShape(shape);
  return std::make_unique<CpuGlobalAveragePooling>(shape);
}

}  // namespace thinwire
