// The scaled sign's decoding passes against float64 loops, and all passes against each other.
#include "kernels/compression.h"

#include "tests/kernels/compression_testing.h"

namespace thinwire {
namespace {

template <typename Backend>
class CompressionApplyTest : public CompressionTest<Backend> {};
TYPED_TEST_SUITE(CompressionApplyTest, Backends);

TYPED_TEST(CompressionApplyTest, Mean) {
  Device& device = *this->device_;
  this->ForEachLayout([&]<typename T>(const Layout& layout, SignCompression& compression) {
    const Values start = Quarters(layout.shape.size, 3);
    for (const int count : kCounts) {
      const Messages<T> messages(device, layout, count, Exact(count));
      const double tolerance = Exact(count) ? 0 : messages.Tolerance(8);
      const TestBuffer<T> y(device, As<T>(WithPadding(layout, start, kMark)), 1);
      compression.Mean(messages.views, true, y);
      reference::ExpectNear(y.Read(), WithPadding(layout, Plus(start, messages.mean), kMark),
                            [&](size_t) { return tolerance; });
      compression.Mean(messages.views, false, y);
      reference::ExpectNear(y.Read(), WithPadding(layout, messages.mean, kMark),
                            [&](size_t) { return tolerance; });
    }
  });
}

TYPED_TEST(CompressionApplyTest, Add) {
  Device& device = *this->device_;
  this->ForEachLayout([&]<typename T>(const Layout& layout, SignCompression& compression) {
    const Values start = Quarters(layout.shape.size, 3);
    const Message message = RandomMessage(layout, 5, true);
    const TestBuffer<T> y(device, As<T>(WithPadding(layout, start, kMark)), 1);
    compression.Add(DeviceMessage<T>(device, message), -0.5, y);
    const Values expected = Plus(start, reference::Decode(layout.shape, message), -0.5);
    ExpectExact(y.Read(), WithPadding(layout, expected, kMark));
  });
}

TYPED_TEST(CompressionApplyTest, SettleError) {
  Device& device = *this->device_;
  this->ForEachLayout([&]<typename T>(const Layout& layout, SignCompression& compression) {
    const Values start = Quarters(layout.shape.size, 3);
    const Values scales = RandomMessage(layout, 5, true).scales;
    const TestBuffer<T> error(device, As<T>(WithPadding(layout, start, kMark)), 1);
    compression.SettleError(TestBuffer<T>(device, As<T>(scales)), error);
    const Values expected = reference::Settle(layout.shape, scales, start);
    ExpectExact(error.Read(), WithPadding(layout, expected, kMark));
  });
}

// Lazy updates are a matter of time alone: applying the message first gives the same bits.
TYPED_TEST(CompressionApplyTest, PendingMessagesGiveTheBitsThatSettlingFirstGives) {
  Device& device = *this->device_;
  this->ForEachLayout([&]<typename T>(const Layout& layout, SignCompression& compression) {
    const int64_t size = layout.shape.size;
    const TestInput<T> input(device, layout, {.values = Normal(size, 1), .gradient_scale = 0.3});
    const std::vector<T> start = As<T>(WithPadding(layout, Normal(size, 2), kMark));
    const DeviceMessage<T> pending(device, RandomMessage(layout, 3, false));
    const SignMessage message = pending;
    auto expect_equal = [](const Output& a, const Output& b) {
      EXPECT_EQ(a.bits.Read(), b.bits.Read());
      EXPECT_EQ(a.sums.Read(), b.sums.Read());
    };
    {
      const TestBuffer<T> lazy(device, start), eager(device, start);
      const Output a(device, layout.shape), b(device, layout.shape);
      compression.PackDifference(input, message, lazy, a.bits, a.sums);
      compression.Add(message, 1, eager);
      compression.PackDifference(input, {}, eager, b.bits, b.sums);
      EXPECT_EQ(lazy.Read(), eager.Read());
      expect_equal(a, b);
    }
    {
      const TestBuffer<T> lazy(device, start), eager(device, start);
      const Output a(device, layout.shape), b(device, layout.shape);
      compression.PackSum(input, message.scales, lazy, a.bits, a.sums);
      compression.SettleError(message.scales, eager);
      compression.PackSum(input, {}, eager, b.bits, b.sums);
      EXPECT_EQ(lazy.Read(), eager.Read());
      expect_equal(a, b);
    }
    {
      const Messages<T> messages(device, layout, 3, false);
      const TestBuffer<T> lazy(device, start), eager(device, start);
      const Output a(device, layout.shape), b(device, layout.shape);
      compression.PackMeanSum(messages.views, message.scales, lazy, a.bits, a.sums);
      compression.SettleError(message.scales, eager);
      compression.PackMeanSum(messages.views, {}, eager, b.bits, b.sums);
      EXPECT_EQ(lazy.Read(), eager.Read());
      expect_equal(a, b);
      // A mean taken by itself is the one that the server's passes take.
      const TestBuffer<T> mean(device, size), settled(device, start);
      compression.Mean(messages.views, false, mean);
      compression.SettleError(message.scales, settled);
      const Output c(device, layout.shape);
      compression.PackSum({.values = mean}, {}, settled, c.bits, c.sums);
      EXPECT_EQ(settled.Read(), lazy.Read());
      expect_equal(a, c);
    }
  });
}

// A server's estimate and its workers' must stay the same bits, so must an error and its sum.
TYPED_TEST(CompressionApplyTest, DecodingIsTheSameInEveryPass) {
  Device& device = *this->device_;
  this->ForEachLayout([&]<typename T>(const Layout& layout, SignCompression& compression) {
    const int64_t size = layout.shape.size;
    const std::vector<T> start = As<T>(WithPadding(layout, Normal(size, 2), kMark));
    const DeviceMessage<T> message(device, RandomMessage(layout, 3, false));
    const std::vector<SignMessage> one = {message};
    const TestBuffer<T> added(device, start), meant(device, start), packed(device, start);
    const Output output(device, layout.shape);
    compression.Add(message, 1, added);
    compression.Mean(one, true, meant);
    compression.PackMeanDifference(one, packed, TestBuffer<T>(device, size), output.bits,
                                   output.sums);
    EXPECT_EQ(meant.Read(), added.Read());
    EXPECT_EQ(packed.Read(), added.Read());
  });
}

TYPED_TEST(CompressionApplyTest, AddAndUpdateGivesTheBitsOfAddAndOfUpdate) {
  Device& device = *this->device_;
  std::vector<AdamUpdate> updates;
  for (const auto form : {AdamUpdate::Form::kUsual, AdamUpdate::Form::kPaper}) {
    for (const auto decay : {WeightDecayForm::kCoupled, WeightDecayForm::kDecoupled}) {
      updates.push_back(
          {.common = {.learning_rate = 0.01, .weight_decay = 0.1, .decay_form = decay},
           .form = form,
           .epsilon_inside = decay == WeightDecayForm::kCoupled,
           .beta2 = 0.99,
           .step = 3});
    }
  }
  this->ForEachLayout([&]<typename T>(const Layout& layout, SignCompression& compression) {
    const int64_t size = layout.shape.size;
    const TestBuffer<T> scale(device, std::vector<T>{static_cast<T>(0.7)});
    const DeviceMessage<T> message(device, RandomMessage(layout, 3, false));
    for (AdamUpdate update : updates) {
      for (const bool amsgrad : {false, true}) {
        if (amsgrad) update.common.gradient_scale = scale;
        // Squares, since variances are not negative.
        std::vector<std::vector<T>> starts;
        for (uint64_t i = 0; i < 5; ++i) {
          Values values = Normal(size, i);
          for (double& value : values) value = i == 2 || i == 3 ? value * value : value;
          starts.push_back(As<T>(WithPadding(layout, values, kMark)));
        }
        auto results = [&](bool fused) {
          std::vector<std::unique_ptr<TestBuffer<T>>> b;
          for (const auto& start : starts) {
            b.push_back(std::make_unique<TestBuffer<T>>(device, start, 1));
          }
          const View largest = amsgrad ? b[3]->view() : View{};
          if (fused) {
            compression.AddAndUpdate(message, update, *b[0], *b[1], *b[2], largest, *b[4]);
          } else {
            compression.Add(message, 1, *b[0]);
            device.Update(update, *b[0], *b[1], *b[2], largest, *b[4]);
          }
          std::vector<std::vector<T>> read;
          for (const auto& buffer : b) read.push_back(buffer->Read());
          return read;
        };
        const auto fused = results(true), apart = results(false);
        for (size_t k = 0; k < fused.size(); ++k) {
          for (size_t i = 0; i < fused[k].size(); ++i) {
            ASSERT_EQ(fused[k][i], layout.groups[i] < 0 ? T{kMark} : apart[k][i]) << k << " " << i;
          }
        }
      }
    }
  });
}

}  // namespace
}  // namespace thinwire
