#include "tests/reference/pooling.h"

#include <cmath>

namespace thinwire::reference {
namespace {

/// Calls function(out_index, in_index, position) for each pixel of each window inside the image,
/// in row order, and channel.
template <typename Function>
void ForEachWindowPixel(const PoolingShape& s, const Function& function) {
  for (int64_t n = 0; n < s.batch; ++n) {
    for (int64_t oh = 0; oh < s.out_height(); ++oh) {
      for (int64_t ow = 0; ow < s.out_width(); ++ow) {
        for (int64_t kh = 0; kh < s.window_height; ++kh) {
          for (int64_t kw = 0; kw < s.window_width; ++kw) {
            const int64_t h = oh * s.stride_height - s.padding_height + kh;
            const int64_t w = ow * s.stride_width - s.padding_width + kw;
            if (h < 0 || h >= s.height || w < 0 || w >= s.width) continue;
            for (int64_t c = 0; c < s.channels; ++c) {
              function(static_cast<size_t>(
                           ((n * s.out_height() + oh) * s.out_width() + ow) * s.channels + c),
                       static_cast<size_t>(((n * s.height + h) * s.width + w) * s.channels + c),
                       static_cast<uint8_t>(kh * s.window_width + kw));
            }
          }
        }
      }
    }
  }
}

size_t OutputSize(const PoolingShape& s) {
  return static_cast<size_t>(s.batch * s.out_height() * s.out_width() * s.channels);
}

/// What each average divides by.
std::vector<double> Areas(const PoolingShape& s) {
  const double area = static_cast<double>(s.window_height * s.window_width);
  std::vector<double> areas(OutputSize(s), s.count_include_padding ? area : 0);
  if (!s.count_include_padding) {
    ForEachWindowPixel(s, [&](size_t out, size_t, uint8_t) { areas[out] += 1; });
  }
  return areas;
}

}  // namespace

PoolingResult PoolingForward(const PoolingShape& s, const std::vector<float>& x) {
  PoolingResult result;
  result.y.assign(OutputSize(s), 0);
  if (s.kind == PoolingShape::Kind::kAverage) {
    const std::vector<double> areas = Areas(s);
    ForEachWindowPixel(
        s, [&](size_t out, size_t in, uint8_t) { result.y[out] += x[in] / areas[out]; });
    return result;
  }
  std::vector<bool> seen(OutputSize(s), false);
  result.positions.assign(OutputSize(s), 0);
  ForEachWindowPixel(s, [&](size_t out, size_t in, uint8_t position) {
    // The first NaN wins and stays.
    const bool wins = std::isnan(x[in]) ? !std::isnan(result.y[out]) : x[in] > result.y[out];
    if (seen[out] && !wins) return;
    seen[out] = true;
    result.y[out] = x[in];
    result.positions[out] = position;
  });
  return result;
}

std::vector<double> PoolingBackward(const PoolingShape& s, const std::vector<float>& y_gradient,
                                    const std::vector<uint8_t>& positions) {
  std::vector<double> x_gradient(static_cast<size_t>(s.batch * s.height * s.width * s.channels));
  const bool max = s.kind == PoolingShape::Kind::kMax;
  const std::vector<double> areas = Areas(s);
  ForEachWindowPixel(s, [&](size_t out, size_t in, uint8_t position) {
    if (!max) {
      x_gradient[in] += y_gradient[out] / areas[out];
    } else if (positions[out] == position) {
      x_gradient[in] += y_gradient[out];
    }
  });
  return x_gradient;
}

std::vector<double> GlobalAveragePoolingForward(const GlobalAveragePoolingShape& s,
                                                const std::vector<float>& x) {
  std::vector<double> y(static_cast<size_t>(s.batch * s.channels));
  const size_t image = static_cast<size_t>(s.pixels * s.channels);
  const size_t channels = static_cast<size_t>(s.channels);
  for (size_t i = 0; i < x.size(); ++i) {
    y[i / image * channels + i % channels] += x[i] / static_cast<double>(s.pixels);
  }
  return y;
}

std::vector<double> GlobalAveragePoolingBackward(const GlobalAveragePoolingShape& s,
                                                 const std::vector<float>& y_gradient) {
  std::vector<double> x_gradient(static_cast<size_t>(s.batch * s.pixels * s.channels));
  const size_t image = static_cast<size_t>(s.pixels * s.channels);
  const size_t channels = static_cast<size_t>(s.channels);
  for (size_t i = 0; i < x_gradient.size(); ++i) {
    x_gradient[i] = y_gradient[i / image * channels + i % channels] / static_cast<double>(s.pixels);
  }
  return x_gradient;
}

namespace {

/// Calls function(out_index, in_index) for each element that the shortcut copies.
template <typename Function>
void ForEachCopied(const PadShortcutShape& s, const Function& function) {
  const int64_t front = (s.out_channels - s.channels) / 2;
  for (int64_t n = 0; n < s.batch; ++n) {
    for (int64_t h = 0; h < s.height; h += s.stride) {
      for (int64_t w = 0; w < s.width; w += s.stride) {
        for (int64_t c = 0; c < s.channels; ++c) {
          const int64_t out_pixel =
              (n * s.out_height() + h / s.stride) * s.out_width() + w / s.stride;
          const int64_t in_pixel = (n * s.height + h) * s.width + w;
          function(static_cast<size_t>(out_pixel * s.out_channels + front + c),
                   static_cast<size_t>(in_pixel * s.channels + c));
        }
      }
    }
  }
}

}  // namespace

std::vector<double> PadShortcutForward(const PadShortcutShape& s, const std::vector<float>& x) {
  std::vector<double> y(
      static_cast<size_t>(s.batch * s.out_height() * s.out_width() * s.out_channels));
  ForEachCopied(s, [&](size_t out, size_t in) { y[out] = x[in]; });
  return y;
}

std::vector<double> PadShortcutBackward(const PadShortcutShape& s,
                                        const std::vector<float>& y_gradient) {
  std::vector<double> x_gradient(static_cast<size_t>(s.batch * s.height * s.width * s.channels));
  ForEachCopied(s, [&](size_t out, size_t in) { x_gradient[in] = y_gradient[out]; });
  return x_gradient;
}

}  // namespace thinwire::reference
