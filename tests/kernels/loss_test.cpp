// Softmax cross-entropy against the float64 loops.
#include "tests/reference/loss.h"

#include <cmath>
#include <limits>

#include "kernels/error.h"
#include "tests/device_test.h"
#include "tests/reference/tolerance.h"

namespace thinwire {
namespace {

using reference::ExpectNear;
using reference::Tolerance;

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

template <typename Backend>
class LossTest : public DeviceTest<Backend> {};
TYPED_TEST_SUITE(LossTest, Backends);

struct Outcome {
  LossResult result;
  std::vector<float> gradient;
};

Outcome RunLoss(Device& device, const LossShape& shape, const std::vector<float>& logits,
                const std::vector<int32_t>& labels, float gradient_scale, float own_label = 1) {
  TestBuffer<float> logits_buffer(device, logits, 1),
      gradient(device, shape.batch * shape.classes, 3);
  TestBuffer<int32_t> labels_buffer(device, labels, 1);
  const auto loss = device.MakeLoss(shape);
  loss->Run(logits_buffer, labels_buffer, own_label, gradient_scale, gradient);
  const Outcome outcome{loss->ReadResult(), gradient.Read()};
  loss->Run(logits_buffer, labels_buffer, own_label, gradient_scale, {});
  const LossResult again = loss->ReadResult();
  EXPECT_EQ(again.correct_top5, outcome.result.correct_top5);
  EXPECT_TRUE(again.loss_sum == outcome.result.loss_sum || std::isnan(outcome.result.loss_sum));
  return outcome;
}

TYPED_TEST(LossTest, AgreesWithTheReference) {
  for (const int64_t batch : {0, 1, 33, 127}) {
    for (const int64_t classes : {1, 2, 5, 10, 31, 257, 1000}) {
      for (const float smoothing : {0.0f, 0.1f, 1.0f}) {
        SCOPED_TRACE(::testing::Message() << batch << " x " << classes << ", " << smoothing);
        const LossShape shape{.batch = batch, .classes = classes, .label_smoothing = smoothing};
        auto logits = RandomNormal(batch * classes, 1, 3);
        for (float& value : logits) value = std::round(value * 4) / 4;  // ties
        std::vector<int32_t> labels;
        for (int64_t row = 0; row < batch; ++row) {
          labels.push_back(row % 5 == 4 ? -1 : static_cast<int32_t>(row * 7 % classes));
        }
        const auto actual = RunLoss(*this->device_, shape, logits, labels, 0.5f);
        const auto expected = reference::CrossEntropy(shape, logits, labels, 0.5);
        EXPECT_EQ(actual.result.rows, expected.result.rows);
        EXPECT_EQ(actual.result.correct_top1, expected.result.correct_top1);
        EXPECT_EQ(actual.result.correct_top5, expected.result.correct_top5);
        // A row's loss may be found in float32: exponentials, their sum, logarithm, differences.
        EXPECT_NEAR(actual.result.loss_sum, expected.result.loss_sum,
                    Tolerance(16, 20 * static_cast<double>(batch)));
        ExpectNear(actual.gradient, expected.logits_gradient,
                   [&](size_t) { return Tolerance(16, 0.5); });
      }
    }
  }
}

TYPED_TEST(LossTest, MixesTheLabelsOfPartners) {
  for (const int64_t batch : {1, 2, 33, 128}) {
    for (const int64_t classes : {2, 10, 257}) {
      for (const float own_label : {0.0f, 0.25f, 0.5f, 0.875f}) {
        SCOPED_TRACE(::testing::Message() << batch << " x " << classes << ", " << own_label);
        const LossShape shape{.batch = batch, .classes = classes, .label_smoothing = 0.1f};
        const auto logits = RandomNormal(batch * classes, 1, 3);
        std::vector<int32_t> labels;
        for (int64_t row = 0; row < batch; ++row) {
          labels.push_back(row % 5 == 4 ? -1 : static_cast<int32_t>(row * 7 % classes));
        }
        const auto actual = RunLoss(*this->device_, shape, logits, labels, 0.5f, own_label);
        const auto expected = reference::CrossEntropy(shape, logits, labels, 0.5, own_label);
        EXPECT_EQ(actual.result.rows, expected.result.rows);
        EXPECT_EQ(actual.result.correct_top1, expected.result.correct_top1);
        EXPECT_EQ(actual.result.correct_top5, expected.result.correct_top5);
        EXPECT_NEAR(actual.result.loss_sum, expected.result.loss_sum,
                    Tolerance(16, 20 * static_cast<double>(batch)));
        ExpectNear(actual.gradient, expected.logits_gradient,
                   [&](size_t) { return Tolerance(16, 0.5); });
      }
    }
  }
}

TYPED_TEST(LossTest, LargeLogitsDoNotOverflow) {
  const auto actual = RunLoss(*this->device_, {.batch = 2, .classes = 2},
                              {1e30f, -1e30f, -1e30f, 1e30f}, {0, 0}, 1);
  EXPECT_DOUBLE_EQ(actual.result.loss_sum, 2 * double{1e30f});
  EXPECT_EQ(actual.gradient, (std::vector<float>{0, 0, -1, 1}));
}

TYPED_TEST(LossTest, NonFiniteLogitsGiveANonFiniteLossAndCountAsWrong) {
  for (const float bad : {kNaN, kInfinity, -kInfinity}) {
    for (const size_t at : {size_t{0}, size_t{1}, size_t{2}}) {
      std::vector<float> logits = {5, 1, 2, 5, 1, 2};
      logits[at] = bad;
      const auto actual = RunLoss(*this->device_, {.batch = 2, .classes = 3}, logits, {0, 0}, 1);
      EXPECT_FALSE(std::isfinite(actual.result.loss_sum));
      EXPECT_EQ(actual.result.rows, 2);
      EXPECT_EQ(actual.result.correct_top1, 1);
      EXPECT_EQ(actual.result.correct_top5, 1);
      EXPECT_FALSE(std::isfinite(actual.gradient[0]));
      EXPECT_TRUE(std::isfinite(actual.gradient[3]));
    }
  }
}

TYPED_TEST(LossTest, ALabelThatIsNoClassGivesANonFiniteLoss) {
  const auto actual = RunLoss(*this->device_, {.batch = 1, .classes = 3}, {1, 2, 3}, {3}, 1);
  EXPECT_FALSE(std::isfinite(actual.result.loss_sum));
  EXPECT_EQ(actual.result.correct_top5, 0);
}

// Also where each run is a piece of work that is replayed.
TYPED_TEST(LossTest, KeepsTheResultsOfTheLastRuns) {
  constexpr int64_t kBatch = 3, kClasses = 4, kKept = 5;
  Device& device = *this->device_;
  const std::vector<int32_t> labels = {0, 3, -1};
  const TestBuffer<int32_t> labels_buffer(device, labels);
  const TestBuffer<float> logits(device, kBatch * kClasses), other(device, 1);
  const auto loss = device.MakeLoss({.batch = kBatch, .classes = kClasses, .results = kKept});
  std::vector<double> expected;
  for (int run = 0; run < 12; ++run) {
    const auto values = RandomNormal(kBatch * kClasses, static_cast<uint64_t>(run));
    device.CopyFromHost(values.data(), logits);
    Recording recording(device, true);
    loss->Run(logits, labels_buffer, 1, 1, {});
    for (int i = 0; i < 8; ++i) device.Zero(other);  // a graph's worth of work
    recording.Stop();
    expected.push_back(
        RunLoss(device, {.batch = kBatch, .classes = kClasses}, values, labels, 1).result.loss_sum);
    const auto kept = std::min<int64_t>(std::ssize(expected), kKept);
    for (const int64_t count : {int64_t{1}, kept}) {
      std::vector<double> sums;
      for (const LossResult& result : loss->ReadResults(count)) {
        EXPECT_EQ(result.rows, 2);
        sums.push_back(result.loss_sum);
      }
      EXPECT_EQ(sums, std::vector<double>(expected.end() - count, expected.end())) << run;
    }
  }
}

TYPED_TEST(LossTest, RefusesImpossibleShapes) {
  Device& device = *this->device_;
  EXPECT_THROW(device.MakeLoss({.batch = 1, .classes = 0}), Error);
  EXPECT_THROW(device.MakeLoss({.batch = -1, .classes = 2}), Error);
  EXPECT_THROW(device.MakeLoss({.batch = 1, .classes = 2, .label_smoothing = 1.5f}), Error);
  EXPECT_THROW(device.MakeLoss({.batch = 1, .classes = 2, .results = 0}), Error);
  EXPECT_THROW(device.MakeLoss({.batch = 1, .classes = 2, .label_smoothing = kNaN}), Error);
}

}  // namespace
}  // namespace thinwire
