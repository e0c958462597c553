// Rounding to bfloat16, and what small passes do in it. Operations with many cases are tested where
// they are in float32.
#include "kernels/bfloat16.h"

#include <cmath>
#include <limits>
#include <span>

#include "kernels/compression.h"
#include "tests/device_test.h"
#include "tests/reference/elementwise.h"
#include "tests/reference/loss.h"
#include "tests/reference/pooling.h"
#include "tests/reference/tolerance.h"

namespace thinwire {
namespace {

using reference::ExpectExact;
using reference::ExpectNear;
using reference::Stored;
using reference::Tolerance;

constexpr DataType kType = DataType::kBFloat16;
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr int64_t kSizes[] = {0, 1, 7, 8, 9, 31, 32, 33, 127, 128, 129, 257, 2049, 7919, 40009};

template <typename Backend>
class BFloat16Test : public DeviceTest<Backend> {};
TYPED_TEST_SUITE(BFloat16Test, Backends);

std::vector<BFloat16> Round(const std::vector<float>& values) {
  std::vector<BFloat16> rounded;
  for (const float value : values) rounded.push_back(ToBFloat16(value));
  return rounded;
}

std::vector<float> Widen(const std::vector<BFloat16>& values) {
  std::vector<float> wide;
  for (const BFloat16 value : values) wide.push_back(ToFloat(value));
  return wide;
}

/// Numbers that bfloat16 can hold, with some zeros, NaN and infinities among them.
std::vector<float> Awkward(int64_t size, uint64_t seed) {
  std::vector<float> values = RandomNormal(size, seed);
  const float special[] = {kNaN, kInfinity, -kInfinity, 0.0f, -0.0f};
  for (size_t i = seed % 7; i < values.size(); i += 7) values[i] = special[i / 7 % 5];
  return RoundTo(kType, std::move(values));
}

/// Expects the bfloat16 nearest to each float, bit for bit but for NaN's payload and sign.
void ExpectRounded(const TestBuffer<BFloat16>& actual, const std::vector<float>& expected) {
  ExpectExact(Widen(actual.Read()), [&] {
    const auto rounded = Widen(Round(expected));
    return std::vector<double>(rounded.begin(), rounded.end());
  }());
}

TEST(CpuBFloat16, RoundsToTheNearestAndTiesToEven) {
  EXPECT_EQ(ToBFloat16(1.0f).bits, 0x3F80);
  EXPECT_EQ(ToBFloat16(1.0f + 0x1p-8f).bits, 0x3F80);             // a tie, down to even
  EXPECT_EQ(ToBFloat16(1.0f + 3 * 0x1p-8f).bits, 0x3F82);         // a tie, up to even
  EXPECT_EQ(ToBFloat16(1.0f + 0x1p-8f + 0x1p-20f).bits, 0x3F81);  // above the tie
  EXPECT_EQ(ToBFloat16(-1.0f - 3 * 0x1p-8f).bits, 0xBF82);
  EXPECT_EQ(ToBFloat16(-0.0f).bits, 0x8000);
  EXPECT_EQ(ToBFloat16(kInfinity).bits, 0x7F80);
  EXPECT_EQ(ToBFloat16(std::numeric_limits<float>::max()).bits, 0x7F80);
  EXPECT_EQ(ToBFloat16(0x1p-133f).bits, 0x0001);  // the smallest one
  EXPECT_EQ(ToBFloat16(0x1p-134f).bits, 0x0000);  // a tie
  EXPECT_EQ(ToBFloat16(kNaN).bits, 0x7FFF);
  EXPECT_EQ(ToBFloat16(std::bit_cast<float>(0xFF800001u)).bits, 0x7FFF);
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const BFloat16 value{static_cast<uint16_t>(bits)};
    if (std::isnan(ToFloat(value))) continue;
    ASSERT_EQ(ToBFloat16(ToFloat(value)).bits, bits);
  }
}

/// Every exponent, and fractions on both sides of where rounding changes.
TYPED_TEST(BFloat16Test, ConvertGivesTheBitsOfOneRounding) {
  Device& device = *this->device_;
  std::vector<float> values;
  for (uint32_t upper = 0; upper < 0x10000; upper += 37) {
    for (const uint32_t lower : {0x0000u, 0x0001u, 0x7FFFu, 0x8000u, 0x8001u, 0xFFFFu}) {
      values.push_back(std::bit_cast<float>(upper << 16 | lower));
    }
  }
  for (const int64_t size : kSizes) {
    const std::vector<float> part(
        values.begin(),
        values.begin() + std::min<ptrdiff_t>(static_cast<ptrdiff_t>(size), std::ssize(values)));
    for (const int64_t misalignment : {0, 1, 8}) {
      SCOPED_TRACE(::testing::Message() << size << " from " << misalignment);
      const TestBuffer<float> wide(device, part, misalignment),
          back(device, std::ssize(part), misalignment);
      const TestBuffer<BFloat16> rounded(device, std::ssize(part), misalignment);
      device.Convert(wide, rounded);
      const auto bits = rounded.Read();
      EXPECT_EQ(bits, Round(part));
      device.Convert(rounded, back);
      const auto read = back.Read();
      for (size_t i = 0; i < bits.size(); ++i) {
        ASSERT_EQ(std::bit_cast<uint32_t>(read[i]), uint32_t{bits[i].bits} << 16) << i;
      }
    }
  }
}

TYPED_TEST(BFloat16Test, ElementwisePassesRoundTheirFloat32ResultOnce) {
  Device& device = *this->device_;
  int64_t shift = 0;
  for (const int64_t size : kSizes) {
    const auto a = Awkward(size, 1), b = Awkward(size, 4);
    const int64_t misalignment = shift++ % 3 == 0 ? 0 : shift % 5;
    SCOPED_TRACE(::testing::Message() << size << " from " << misalignment);
    const TestBuffer<BFloat16> a_buffer(device, Round(a), misalignment),
        b_buffer(device, Round(b), misalignment), y(device, size, misalignment);
    std::vector<float> expected(a.size());
    for (const bool relu : {false, true}) {
      device.Add(a_buffer, b_buffer, relu, y);
      for (size_t i = 0; i < a.size(); ++i) {
        const float sum = a[i] + b[i];
        expected[i] = relu && sum < 0 ? 0 : sum;
      }
      ExpectRounded(y, expected);
    }
    device.Relu(a_buffer, y);
    ExpectExact(Widen(y.Read()), reference::Relu(a));
    device.ReluBackward(y, b_buffer, b_buffer);
    ExpectExact(Widen(b_buffer.Read()), reference::ReluBackward(Widen(y.Read()), b));

    const auto x = RoundTo(kType, RandomNormal(size, 8));
    const TestBuffer<BFloat16> x_buffer(device, Round(x), misalignment);
    for (const float rate : {0.0f, 0.3f, 1.0f}) {
      device.Dropout(x_buffer, rate, 0x123456789ABCDEF0u, 42, y);
      const auto dropped = reference::Dropout(x, rate, 0x123456789ABCDEF0u, 42);
      ExpectNear(Widen(y.Read()), dropped, [&](size_t i) {
        return Stored(kType, Tolerance(2, std::abs(x[i]) / (1 - rate)), dropped[i]);
      });
    }
  }
}

TYPED_TEST(BFloat16Test, FindsTheFirstNonFinite) {
  Device& device = *this->device_;
  for (const int64_t size : {1, 8, 33, 4099}) {
    std::vector<float> values = RandomNormal(size, 3);
    EXPECT_EQ(device.FirstNonFinite(TestBuffer<BFloat16>(device, Round(values), 1)), -1);
    for (const float bad : {kNaN, kInfinity, -kInfinity}) {
      values.back() = bad;
      EXPECT_EQ(device.FirstNonFinite(TestBuffer<BFloat16>(device, Round(values))), size - 1);
      values[static_cast<size_t>(size / 2)] = bad;
      EXPECT_EQ(device.FirstNonFinite(TestBuffer<BFloat16>(device, Round(values), 3)), size / 2);
      values = RandomNormal(size, 3);
    }
  }
}

TYPED_TEST(BFloat16Test, Pooling) {
  Device& device = *this->device_;
  for (const auto kind : {PoolingShape::Kind::kMax, PoolingShape::Kind::kAverage}) {
    for (const int64_t channels : {1, 7, 8, 16, 24, 33}) {
      for (const int64_t window : {2, 3}) {
        SCOPED_TRACE(::testing::Message() << channels << " channels, window " << window);
        const PoolingShape shape{.kind = kind,
                                 .batch = 3,
                                 .height = 9,
                                 .width = 8,
                                 .channels = channels,
                                 .window_height = window,
                                 .window_width = window,
                                 .stride_height = 2,
                                 .stride_width = 2,
                                 .padding_height = window / 2,
                                 .padding_width = window / 2,
                                 .type = kType};
        const int64_t in = 3 * 9 * 8 * channels;
        const int64_t out = 3 * shape.out_height() * shape.out_width() * channels;
        auto x = RandomNormal(in, 1);
        for (float& value : x) value = std::round(value * 2);  // ties
        const auto gradient = RoundTo(kType, RandomNormal(out, 2));
        const int64_t misalignment = channels % 16 == 0 ? 0 : 1;
        const TestBuffer<BFloat16> x_buffer(device, Round(x), misalignment),
            y(device, out, misalignment), y_gradient(device, Round(gradient), misalignment),
            x_gradient(device, in, misalignment);
        const auto pooling = device.MakePooling(shape);
        TestBuffer<uint8_t> saved(device, pooling->saved_bytes());
        pooling->Forward(x_buffer, y, saved);
        pooling->Backward(y_gradient, saved, x_gradient);
        const auto expected = reference::PoolingForward(shape, x);
        EXPECT_EQ(saved.Read(), expected.positions);
        const auto expected_gradient =
            reference::PoolingBackward(shape, gradient, expected.positions);
        // A window's sum in float32, its factor and the product, as in PoolingTest.
        const double tolerance = Tolerance(static_cast<double>(window * window) + 2, 24);
        const auto expect_near = [&](const TestBuffer<BFloat16>& actual,
                                     const std::vector<double>& wanted) {
          ExpectNear(Widen(actual.Read()), wanted,
                     [&](size_t i) { return Stored(kType, tolerance, wanted[i]); });
        };
        expect_near(y, expected.y);
        expect_near(x_gradient, expected_gradient);
        if (kind == PoolingShape::Kind::kMax) ExpectExact(Widen(y.Read()), expected.y);
      }
    }
  }
}

TYPED_TEST(BFloat16Test, GlobalAveragePooling) {
  Device& device = *this->device_;
  for (const int64_t pixels : {1, 49, 64, 1025}) {
    for (const int64_t channels : {1, 33, 64}) {
      SCOPED_TRACE(::testing::Message() << pixels << " x " << channels);
      const GlobalAveragePoolingShape shape{3, pixels, channels, kType};
      const auto x = RoundTo(kType, RandomNormal(3 * pixels * channels, 1));
      const auto gradient = RoundTo(kType, RandomNormal(3 * channels, 2));
      const TestBuffer<BFloat16> x_buffer(device, Round(x)), y(device, 3 * channels),
          y_gradient(device, Round(gradient)), x_gradient(device, 3 * pixels * channels);
      const auto pooling = device.MakeGlobalAveragePooling(shape);
      pooling->Forward(x_buffer, y);
      pooling->Backward(y_gradient, x_gradient);
      const auto expected = reference::GlobalAveragePoolingForward(shape, x);
      const auto expected_gradient = reference::GlobalAveragePoolingBackward(shape, gradient);
      // As in PoolingTest.
      ExpectNear(Widen(y.Read()), expected, [&](size_t i) {
        return Stored(kType, Tolerance(7, 1, pixels) + Tolerance(2, 1), expected[i]);
      });
      ExpectNear(Widen(x_gradient.Read()), expected_gradient, [&](size_t i) {
        return Stored(kType, Tolerance(2, 6.0 / static_cast<double>(pixels)), expected_gradient[i]);
      });
    }
  }
}

TYPED_TEST(BFloat16Test, PadShortcutIsExact) {
  Device& device = *this->device_;
  for (const int64_t channels : {1, 16, 33}) {
    for (const int64_t added : {0, 1, 16}) {
      for (const int64_t stride : {1, 2}) {
        const PadShortcutShape shape{.batch = 3,
                                     .height = 7,
                                     .width = 8,
                                     .channels = channels,
                                     .out_channels = channels + added,
                                     .stride = stride,
                                     .type = kType};
        const int64_t in = 3 * 7 * 8 * channels;
        const int64_t out = 3 * shape.out_height() * shape.out_width() * shape.out_channels;
        const auto x = RoundTo(kType, RandomNormal(in, 1)),
                   gradient = RoundTo(kType, RandomNormal(out, 2));
        const TestBuffer<BFloat16> x_buffer(device, Round(x)), y(device, out),
            y_gradient(device, Round(gradient)), x_gradient(device, in);
        const auto shortcut = device.MakePadShortcut(shape);
        shortcut->Forward(x_buffer, y);
        ExpectExact(Widen(y.Read()), reference::PadShortcutForward(shape, x));
        shortcut->Backward(y_gradient, x_gradient);
        ExpectExact(Widen(x_gradient.Read()), reference::PadShortcutBackward(shape, gradient));
      }
    }
  }
}

// The loss is not rounded; its gradient is, once.
TYPED_TEST(BFloat16Test, Loss) {
  Device& device = *this->device_;
  for (const int64_t batch : {0, 1, 33}) {
    for (const int64_t classes : {1, 10, 257}) {
      SCOPED_TRACE(::testing::Message() << batch << " x " << classes);
      const LossShape shape{
          .batch = batch, .classes = classes, .label_smoothing = 0.1f, .type = kType};
      const auto logits = RoundTo(kType, RandomNormal(batch * classes, 1, 3));
      std::vector<int32_t> labels;
      for (int64_t row = 0; row < batch; ++row) {
        labels.push_back(row % 5 == 4 ? -1 : static_cast<int32_t>(row * 7 % classes));
      }
      const TestBuffer<BFloat16> logits_buffer(device, Round(logits), 1),
          gradient(device, batch * classes, 3);
      const TestBuffer<int32_t> labels_buffer(device, labels);
      const auto loss = device.MakeLoss(shape);
      loss->Run(logits_buffer, labels_buffer, 1, 0.5f, gradient);
      const LossResult result = loss->ReadResult();
      const auto expected = reference::CrossEntropy(shape, logits, labels, 0.5);
      EXPECT_EQ(result.rows, expected.result.rows);
      EXPECT_EQ(result.correct_top1, expected.result.correct_top1);
      EXPECT_EQ(result.correct_top5, expected.result.correct_top5);
      // As in LossTest.
      EXPECT_NEAR(result.loss_sum, expected.result.loss_sum,
                  Tolerance(16, 20 * static_cast<double>(batch)));
      ExpectNear(Widen(gradient.Read()), expected.logits_gradient, [&](size_t i) {
        return Stored(kType, Tolerance(16, 0.5), expected.logits_gradient[i]);
      });
    }
  }
}

TYPED_TEST(BFloat16Test, AugmentationRoundsWhatItWouldWrite) {
  Device& device = *this->device_;
  for (const AugmentationShape& shape : {AugmentationShape{7, 32, 32, 3, 16},
                                         {3, 5, 7, 3, 2},
                                         {2, 28, 28, 1, 9},
                                         {5, 2, 3, 32, 4}}) {
    const auto table = RandomNormal(shape.channels * kByteValues, 2);
    const auto operation = device.MakeAugmentation(shape, table);
    std::vector<uint8_t> bytes(static_cast<size_t>(shape.batch * shape.image_size()));
    for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<uint8_t>(i * 37 + i / 251);
    std::vector<Augmentation> drawn(static_cast<size_t>(shape.batch));
    for (size_t i = 0; i < drawn.size(); ++i) {
      const auto n = static_cast<int32_t>(i);
      drawn[i] = {n % 3 - 1, n % 4 - 2, n % 2, n % 2, 1};
    }
    const auto drawn_bytes = std::as_bytes(std::span(drawn));
    Buffer drawn_on_device = device.Allocate(std::ssize(drawn_bytes));
    const View drawn_view =
        drawn_on_device.view(DataType::kUint8).Slice(0, std::ssize(drawn_bytes));
    device.CopyFromHost(drawn_bytes.data(), drawn_view);
    const TestBuffer<uint8_t> images(device, bytes);
    const View present = images.view().Slice(0, (shape.batch - 1) * shape.image_size());
    const TestBuffer<float> wide(device, std::ssize(bytes));
    operation->Run(present, drawn_view, wide);
    for (const int64_t misalignment : {0, 1}) {
      const TestBuffer<BFloat16> rounded(device, Round(std::vector<float>(bytes.size(), 7)),
                                         misalignment);
      operation->Run(present, drawn_view, rounded);
      EXPECT_EQ(rounded.Read(), Round(wide.Read()));
    }
  }
}

/// Runs update(common, x) on fresh parameters, without and with a copy: x must be the same bits,
/// and the copy x's.
template <typename Run>
void ExpectCopied(Device& device, const Run& run) {
  for (const int64_t size : {1, 8, 33, 129, 7919, 40009}) {
    for (const int64_t misalignment : {0, 1, 4}) {
      SCOPED_TRACE(::testing::Message() << size << " from " << misalignment);
      const auto start = RandomNormal(size, 1);
      const TestBuffer<float> alone(device, start, misalignment),
          copied(device, start, misalignment);
      const TestBuffer<BFloat16> copy(device, size, misalignment);
      UpdateCommon common{.learning_rate = 0.03, .weight_decay = 0.1};
      run(common, alone.view());
      common.bfloat16_x = copy;
      run(common, copied.view());
      EXPECT_EQ(copied.Read(), alone.Read());
      EXPECT_NE(copied.Read(), start);
      EXPECT_EQ(copy.Read(), Round(copied.Read()));
    }
  }
}

TYPED_TEST(BFloat16Test, UpdatesCopyTheirParameters) {
  Device& device = *this->device_;
  const auto state = [&](View x, uint64_t seed) {
    auto values = RandomNormal(x.size, seed);
    for (float& value : values) value = std::abs(value);
    return TestBuffer<float>(device, values);
  };
  ExpectCopied(device, [&](const UpdateCommon& common, View x) {
    device.Update(MomentumUpdate{.common = common, .momentum = 0.9}, state(x, 2), state(x, 3), x);
  });
  ExpectCopied(device, [&](const UpdateCommon& common, View x) {
    device.Update(MomentumUpdate{.common = common}, state(x, 2), {}, x);
  });
  for (const bool amsgrad : {false, true}) {
    ExpectCopied(device, [&](const UpdateCommon& common, View x) {
      const auto largest = state(x, 5);
      device.Update(AdamUpdate{.common = common}, state(x, 2), state(x, 3), state(x, 4),
                    amsgrad ? largest.view() : View{}, x);
    });
  }
  ExpectCopied(device, [&](const UpdateCommon& common, View x) {
    device.Update(RmspropUpdate{.common = common, .momentum = 0.9}, state(x, 2), state(x, 3),
                  state(x, 4), x);
  });
  ExpectCopied(device, [&](const UpdateCommon& common, View x) {
    device.Update(SignSgdUpdate{.common = common}, state(x, 2), {}, x);
  });
  ExpectCopied(device, [&](const UpdateCommon& common, View x) {
    device.Update(FrozenAdamUpdate{.common = common}, state(x, 2), state(x, 3), x);
  });
}

TYPED_TEST(BFloat16Test, TheCompressedUpdateCopiesItsParameters) {
  Device& device = *this->device_;
  const SignShape shape{.size = 8192 + 640,
                        .runs = {{{0, 4099}, 0}, {{4128, 8192 + 600}, 1}},
                        .group_sizes = {4099, 4664}};
  const auto compression = device.MakeSignCompression(shape);
  std::vector<int32_t> words(static_cast<size_t>(shape.words()));
  for (size_t i = 0; i < words.size(); ++i) words[i] = static_cast<int32_t>(i * 2654435761u);
  const TestBuffer<int32_t> bits(device, words);
  const TestBuffer<float> scales(device, std::vector<float>{0.5f, 0.25f});
  auto start = RandomNormal(shape.size, 1);
  for (size_t i = 0; i < start.size(); ++i) {
    if ((i >= 4099 && i < 4128) || i >= 8192 + 600) start[i] = 0;  // padding
  }
  std::vector<float> squares = RandomNormal(shape.size, 2);
  for (float& value : squares) value *= value;
  for (const int64_t misalignment : {0, 1}) {
    const TestBuffer<float> x(device, start, misalignment), estimate(device, shape.size),
        momentum(device, shape.size), variance(device, squares), largest(device, squares);
    const TestBuffer<BFloat16> copy(device, shape.size, misalignment);
    AdamUpdate update{.common = {.learning_rate = 0.03}};
    update.common.bfloat16_x = copy;
    compression->AddAndUpdate({bits, scales}, update, estimate, momentum, variance, largest, x);
    EXPECT_NE(x.Read(), start);
    EXPECT_EQ(copy.Read(), Round(x.Read()));
  }
}

}  // namespace
}  // namespace thinwire
