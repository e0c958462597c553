// What the tests of the scaled sign share: shapes, inputs and messages, on the device and off it.
//
// Most inputs are multiples of 1/4 below 8 and all factors powers of two, so that every sum is
// exact and results must agree to the last bit, signs of values near zero included. Padding holds
// NaN in what is read, and marks in what is written, which must survive.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "kernels/compression.h"
#include "tests/device_test.h"
#include "tests/reference/compression.h"
#include "tests/reference/tolerance.h"

namespace thinwire {

using reference::ExpectExact;
using reference::Message;
using Values = std::vector<double>;

inline constexpr double kMark = 77;

/// One shape with its padding.
struct Layout {
  std::string name;
  SignShape shape;
  std::vector<int64_t> groups;  // of each element, -1 in padding

  Layout(std::string layout_name, SignShape sign_shape)
      : name(std::move(layout_name)), shape(std::move(sign_shape)) {
    shape.group_sizes.clear();
    for (const ScaleRun& run : shape.runs) {
      shape.group_sizes.resize(static_cast<size_t>(run.group) + 1);
      shape.group_sizes.back() += run.range.size();
    }
    groups = reference::Groups(shape);
  }
};

/// Tensors of these sizes, each from a multiple of 128 on, cut into blocks of `block` (0: not cut);
/// a group a block, or one for all.
inline Layout Tensors(const std::string& name, const std::vector<int64_t>& sizes, int64_t block,
                      bool one_group) {
  SignShape shape;
  for (const int64_t size : sizes) {
    const int64_t step = block == 0 ? size : block;
    for (int64_t i = 0; i < size; i += step) {
      const int64_t group = one_group ? 0 : static_cast<int64_t>(shape.runs.size());
      shape.runs.push_back({{shape.size + i, shape.size + std::min(size, i + step)}, group});
    }
    shape.size += (size + 127) / 128 * 128;
  }
  return {name, shape};
}

inline std::vector<Layout> Layouts() {
  const std::vector<int64_t> sizes = {1, 31, 32, 33, 127, 128, 1000, 20011, 5};
  std::vector<Layout> layouts;
  layouts.push_back(Tensors("nothing", {}, 0, true));
  layouts.push_back({"padding alone", {.size = 64}});
  layouts.push_back(Tensors("one word", {32}, 0, true));
  layouts.push_back(Tensors("model", sizes, 0, true));
  layouts.push_back(Tensors("tensor", sizes, 0, false));
  for (const int64_t block : {8, 32, 100, 10000}) {
    layouts.push_back(Tensors("block:" + std::to_string(block), sizes, block, false));
  }
  layouts.push_back(Tensors("many pieces of one group", {20011}, 8, true));
  layouts.push_back(
      {"borders within words",
       {.size = 96, .runs = {{{3, 5}, 0}, {{5, 40}, 0}, {{40, 41}, 1}, {{70, 95}, 2}}}});
  layouts.push_back({"padding in front", {.size = 40000 / 32 * 32, .runs = {{{33333, 33334}, 0}}}});
  layouts.push_back(Tensors("large", {(1 << 20) + 7}, 0, true));
  return layouts;
}

/// Standard normal values, from somewhere in a pool of them: to draw them takes its time.
inline Values Normal(int64_t size, uint64_t seed) {
  static const std::vector<float> pool = RandomNormal((int64_t{1} << 21) - 19, 1);
  Values values(static_cast<size_t>(size));
  size_t i = seed * 104729 % pool.size();
  for (double& value : values) {
    value = double{pool[i]};
    i = i + 1 == pool.size() ? 0 : i + 1;
  }
  return values;
}

/// Multiples of 1/4 from a normal distribution of deviation 2, zeros of both signs among them.
inline Values Quarters(int64_t size, uint64_t seed) {
  Values values = Normal(size, seed);
  for (double& value : values) value = std::clamp(std::round(value * 8) / 4, -7.75, 7.75);
  return values;
}

template <typename T>
std::vector<T> As(const Values& values) {
  return {values.begin(), values.end()};
}

inline Values WithPadding(const Layout& layout, Values values, double padding) {
  for (size_t i = 0; i < values.size(); ++i) {
    if (layout.groups[i] < 0) values[i] = padding;
  }
  return values;
}

inline Values Plus(Values a, const Values& b, double factor = 1) {
  for (size_t i = 0; i < a.size(); ++i) a[i] += factor * b[i];
  return a;
}

/// A message with random signs and, if `exact`, scales that are multiples of 1/4.
inline Message RandomMessage(const Layout& layout, uint64_t seed, bool exact) {
  const int64_t groups = layout.shape.groups();
  Message message;
  message.bits = reference::Signs(layout.shape, Normal(layout.shape.size, seed));
  message.scales = exact ? Quarters(groups, seed + 1) : Normal(groups, seed + 1);
  for (double& scale : message.scales) {
    scale = static_cast<double>(static_cast<float>(std::abs(scale)));
  }
  return message;
}

/// A message in device memory.
template <typename T>
struct DeviceMessage {
  DeviceMessage(Device& device, const Message& message)
      : bits(device, message.bits, 1), scales(device, As<T>(message.scales), 2) {}
  operator SignMessage() const { return {bits.view(), scales.view()}; }
  TestBuffer<int32_t> bits;
  TestBuffer<T> scales;
};

/// Where a pass puts its signs and sums: signs start as ones, so that zeros in padding are written.
struct Output {
  Output(Device& device, const SignShape& shape)
      : Output(device, shape, std::vector<int32_t>(static_cast<size_t>(shape.words()), -1)) {}
  Output(Device& device, const SignShape& shape, const std::vector<int32_t>& start)
      : bits(device, start, 3),
        sums(device, std::vector<double>(static_cast<size_t>(shape.groups()), kMark)) {}
  TestBuffer<int32_t> bits;
  TestBuffer<double> sums;
};

inline void ExpectPacked(const Layout& layout, const Output& output, const Values& v) {
  EXPECT_EQ(output.bits.Read(), reference::Signs(layout.shape, v));
  EXPECT_EQ(output.sums.Read(), reference::Sums(layout.shape, v));
}

/// Where sums in T round: the signs of values that are clear of zero, and sums nearly.
inline void ExpectPackedNearly(const Layout& layout, const Output& output, const Values& v,
                               double tolerance) {
  const auto bits = output.bits.Read(), expected_bits = reference::Signs(layout.shape, v);
  for (size_t i = 0; i < v.size(); ++i) {
    if (layout.groups[i] >= 0 && std::abs(v[i]) <= tolerance) continue;
    ASSERT_EQ(bits[i / 32] >> (i % 32) & 1, expected_bits[i / 32] >> (i % 32) & 1) << i;
  }
  const bool squares = layout.shape.scale == SignShape::Scale::kRootMeanSquare;
  const auto expected = reference::Sums(layout.shape, v), sums = output.sums.Read();
  for (size_t group = 0; group < sums.size(); ++group) {
    const double n = static_cast<double>(layout.shape.group_sizes[group]);
    // Σ((|v| + t)² - v²) <= 2 t sqrt(n Σv²) + n t²; and the float64 sum's own rounding.
    const double slack =
        squares ? 2 * tolerance * std::sqrt(n * expected[group]) + n * tolerance * tolerance
                : n * tolerance;
    EXPECT_NEAR(sums[group], expected[group],
                slack + n * std::numeric_limits<double>::epsilon() * expected[group]);
  }
}

template <typename Backend>
class CompressionTest : public DeviceTest<Backend> {
 protected:
  /// Calls run.operator()<T>(layout, compression) for both types, both scales and all layouts; for
  /// the large one once, since the reference takes its time.
  template <typename Run>
  void ForEachLayout(const Run& run) {
    for (Layout layout : Layouts()) {
      for (const auto scale :
           {SignShape::Scale::kMeanMagnitude, SignShape::Scale::kRootMeanSquare}) {
        layout.shape.scale = scale;
        SCOPED_TRACE(::testing::Message() << layout.name << ", scale " << static_cast<int>(scale));
        RunAs<float>(layout, run);
        if (layout.name == "large") break;
        RunAs<double>(layout, run);
      }
    }
  }

 private:
  template <typename T, typename Run>
  void RunAs(Layout& layout, const Run& run) {
    SCOPED_TRACE(::testing::Message() << sizeof(T) << " bytes");
    layout.shape.type = DataTypeOf<T>();
    const auto compression = this->device_->MakeSignCompression(layout.shape);
    run.template operator()<T>(layout, *compression);
  }
};

/// A CompressionInput on the device and in the reference, without padding in the latter.
template <typename T>
struct TestInput {
  TestInput(Device& device, const Layout& layout, const reference::Input& wanted)
      : in(wanted),
        values(device, As<T>(WithPadding(layout, in.values, std::nan(""))), 1),
        parameters(device, As<T>(WithPadding(layout, in.parameters, std::nan(""))), 2),
        added(device, As<T>(WithPadding(layout, in.added, std::nan(""))), 3),
        scale(device, std::vector<T>{static_cast<T>(in.gradient_scale)}),
        expected(reference::Evaluate(in)) {}

  operator CompressionInput() const {
    return {.values = values.view(),
            .factor = in.factor,
            .gradient_scale = in.gradient_scale == 1 ? ConstView{} : ConstView(scale),
            .parameters = in.parameters.empty() ? ConstView{} : ConstView(parameters),
            .weight_decay = in.weight_decay,
            .decayed_size = in.decayed_size,
            .added = in.added.empty() ? ConstView{} : ConstView(added),
            .added_factor = in.added_factor};
  }

  reference::Input in;
  TestBuffer<T> values, parameters, added, scale;
  Values expected;
};

/// Inputs with and without each of their parts.
inline std::vector<reference::Input> Inputs(int64_t size) {
  const Values values = Quarters(size, 1), parameters = Quarters(size, 2);
  return {{.values = values},
          {.values = values, .factor = 0.5, .gradient_scale = 0.25},
          {.values = values,
           .gradient_scale = 0.5,
           .parameters = parameters,
           .weight_decay = 0.25,
           .decayed_size = size},
          {.values = values,
           .factor = 2,
           .parameters = parameters,
           .weight_decay = 0.5,
           .decayed_size = size * 5 / 9,
           .added = Quarters(size, 3),
           .added_factor = -0.5},
          {.values = values, .added = parameters}};
}

/// Messages of several workers, on the device and off it.
template <typename T>
struct Messages {
  Messages(Device& device, const Layout& layout, int count, bool exact) {
    for (int i = 0; i < count; ++i) {
      reference.push_back(RandomMessage(layout, 10 + 2 * static_cast<uint64_t>(i), exact));
      on_device.push_back(std::make_unique<DeviceMessage<T>>(device, reference.back()));
      views.push_back(*on_device.back());
    }
    mean = reference::Mean(layout.shape, reference);
    for (const Message& message : reference) {
      for (const double scale : message.scales) largest = std::max(largest, scale);
    }
  }
  /// A sum of n numbers of at most `largest`, and its division, round n times, by half an eps of
  /// the sum so far each: taken over the mean, at most n/2 roundings of `largest`. What it is
  /// added to and taken from is below `other`.
  double Tolerance(double other) const {
    const double n = static_cast<double>(reference.size());
    return reference::Tolerance<T>(n / 2, largest) + reference::Tolerance<T>(3, largest + other);
  }

  std::vector<Message> reference;
  std::vector<std::unique_ptr<DeviceMessage<T>>> on_device;
  std::vector<SignMessage> views;
  Values mean;
  double largest = 0;
};

/// Four numbers' mean is as exact as its terms; three's and twenty's are not.
inline constexpr int kCounts[] = {1, 3, 4, 20};
inline bool Exact(int count) { return count == 1 || count == 4; }

}  // namespace thinwire
