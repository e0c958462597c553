#include "kernels/cuda/pad_shortcut.h"
#include "kernels/cuda/pixels.cuh"

namespace thinwire::cuda {
namespace {

template <typename T>
struct ForwardBody {
  PadShortcutShape s;
  const T* x;
  T* y;
  int64_t front;  // zero channels

  template <int kWidth>
  __device__ void At(int64_t i, const Pixel& p) const {
    const int64_t channel = p.channel - front;
    Vector<T, kWidth> values{};
    if (0 <= channel && channel < s.channels) {
      const int64_t row = p.row * s.stride, column = p.column * s.stride;
      values =
          Load<kWidth>(x + ((p.image * s.height + row) * s.width + column) * s.channels + channel);
    }
    Store<kWidth>(y + i, values);
  }
};

template <typename T>
struct BackwardBody {
  PadShortcutShape s;
  const T* y_gradient;
  T* x_gradient;
  int64_t front, out_height, out_width;

  template <int kWidth>
  __device__ void At(int64_t i, const Pixel& p) const {
    Vector<T, kWidth> gradients{};
    if (p.row % s.stride == 0 && p.column % s.stride == 0) {
      const int64_t row = p.row / s.stride, column = p.column / s.stride;
      gradients = Load<kWidth>(
          y_gradient + ((p.image * out_height + row) * out_width + column) * s.out_channels +
          front + p.channel);
    }
    Store<kWidth>(x_gradient + i, gradients);
  }
};

class CudaPadShortcut : public PadShortcut {
 public:
  CudaPadShortcut(const Queue& queue, const PadShortcutShape& shape)
      : queue_(queue), s_(shape), front_((shape.out_channels - shape.channels) / 2) {}

  void Forward(ConstView x, View y) override {
    WithActivationType(x.type, [&]<typename T>() {
      ForEachPixel<T>(
          "pad_shortcut", queue_, {s_.batch, s_.out_height(), s_.out_width(), s_.out_channels},
          WholeVectors<T>() && AllAligned(x, y), ForwardBody<T>{s_, x.as<T>(), y.as<T>(), front_});
    });
  }

  void Backward(ConstView y_gradient, View x_gradient) override {
    WithActivationType(x_gradient.type, [&]<typename T>() {
      ForEachPixel<T>("pad_shortcut_backward", queue_, {s_.batch, s_.height, s_.width, s_.channels},
                      WholeVectors<T>() && AllAligned(y_gradient, x_gradient),
                      BackwardBody<T>{s_, y_gradient.as<T>(), x_gradient.as<T>(), front_,
                                      s_.out_height(), s_.out_width()});
    });
  }

 private:
  /// Whether no vector holds both channels of x and zeros.
  template <typename T>
  bool WholeVectors() const {
    constexpr int kWidth = kFullWidth<T>;
    return s_.channels % kWidth == 0 && front_ % kWidth == 0 && s_.out_channels % kWidth == 0;
  }

  Queue queue_;
  PadShortcutShape s_;
  int64_t front_;
};

}  // namespace
}  // namespace thinwire::cuda

namespace thinwire {

std::unique_ptr<PadShortcut> MakeCudaPadShortcut(const cuda::Queue& queue,
                                                 const PadShortcutShape& shape) {
  CheckShape(shape);
  return std::make_unique<cuda::CudaPadShortcut>(queue, shape);
}

}  // namespace thinwire
