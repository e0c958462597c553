// Schedules against values worked out by hand from their definitions.
#include "optim/schedule.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numbers>

#include "kernels/error.h"

namespace thinwire {
namespace {

constexpr int64_t kStepsPerEpoch = 10;
constexpr int64_t kSteps = 100;

double At(const ScheduleOptions& options, int64_t step) {
  return LearningRate(options, step, kStepsPerEpoch, kSteps);
}

/// A few roundings of numbers of at most `scale`.
double Tolerance(double scale) { return 8 * std::numeric_limits<double>::epsilon() * scale; }

TEST(ScheduleTest, Constant) {
  for (const int64_t step : {0, 1, 99}) EXPECT_EQ(At({.learning_rate = 0.3}, step), 0.3);
}

TEST(ScheduleTest, StepDecaysAtEpochBoundaries) {
  const ScheduleOptions options{
      .name = "step", .learning_rate = 0.8, .decay_rate = 0.5, .decay_epochs = 3};
  EXPECT_EQ(At(options, 0), 0.8);
  EXPECT_EQ(At(options, 29), 0.8);
  EXPECT_EQ(At(options, 30), 0.4);
  EXPECT_EQ(At(options, 59), 0.4);
  EXPECT_EQ(At(options, 60), 0.2);
  EXPECT_EQ(At(options, 99), 0.1);
}

TEST(ScheduleTest, MultistepDecaysAtMilestones) {
  const ScheduleOptions options{
      .name = "multistep", .learning_rate = 0.8, .decay_rate = 0.5, .decay_milestones = {2, 7}};
  EXPECT_EQ(At(options, 19), 0.8);
  EXPECT_EQ(At(options, 20), 0.4);
  EXPECT_EQ(At(options, 69), 0.4);
  EXPECT_EQ(At(options, 70), 0.2);
}

TEST(ScheduleTest, CosineIsHalfAWave) {
  const ScheduleOptions options{.name = "cosine", .learning_rate = 0.5, .min_learning_rate = 0.1};
  EXPECT_NEAR(At(options, 0), 0.5, Tolerance(0.5));
  EXPECT_NEAR(At(options, 25), 0.3 + 0.2 * std::numbers::sqrt2 / 2, Tolerance(0.5));
  EXPECT_NEAR(At(options, 50), 0.3, Tolerance(0.5));
  EXPECT_NEAR(At(options, 75), 0.3 - 0.2 * std::numbers::sqrt2 / 2, Tolerance(0.5));
  EXPECT_GT(At(options, 99), 0.1);
}

TEST(ScheduleTest, Polynomial) {
  const ScheduleOptions options{
      .name = "polynomial", .learning_rate = 0.5, .min_learning_rate = 0.1, .power = 2};
  EXPECT_NEAR(At(options, 0), 0.5, Tolerance(0.5));
  EXPECT_NEAR(At(options, 50), 0.1 + 0.4 * 0.25, Tolerance(0.5));
  EXPECT_NEAR(At(options, 90), 0.1 + 0.4 * 0.01, Tolerance(0.5));
}

// 0.3 * 100 - 1 = 29 steps up from 0.5 / 25 to 0.5, then 70 down to 0.02 / 10^4.
TEST(ScheduleTest, OneCycle) {
  const ScheduleOptions options{.name = "onecycle", .learning_rate = 0.5};
  EXPECT_NEAR(At(options, 0), 0.02, Tolerance(0.5));
  EXPECT_NEAR(At(options, 29), 0.5, Tolerance(0.5));
  EXPECT_NEAR(At(options, 64), (0.5 + 2e-6) / 2, Tolerance(0.5));  // half way down
  EXPECT_NEAR(At(options, 99), 2e-6, Tolerance(0.5));
  for (int64_t step = 1; step < kSteps; ++step) {
    EXPECT_EQ(At(options, step) > At(options, step - 1), step <= 29) << step;
  }
}

// The turn, at step 0.3 * 7 - 1 = 1.1, lies between two steps.
TEST(ScheduleTest, OneCycleTurnsBetweenSteps) {
  const ScheduleOptions options{.name = "onecycle", .learning_rate = 0.5};
  const double turn = 0.3 * 7 - 1;
  const auto cosine = [](double from, double to, double part) {
    return to + (from - to) * (1 + std::cos(std::numbers::pi * part)) / 2;
  };
  EXPECT_NEAR(LearningRate(options, 1, 7, 7), cosine(0.02, 0.5, 1 / turn), Tolerance(0.5));
  EXPECT_NEAR(LearningRate(options, 2, 7, 7), cosine(0.5, 2e-6, (2 - turn) / (6 - turn)),
              Tolerance(0.5));
}

TEST(ScheduleTest, OneCycleOfVeryFewSteps) {
  for (int64_t total = 1; total <= 10; ++total) {
    for (int64_t step = 0; step < total; ++step) {
      const double rate =
          LearningRate({.name = "onecycle", .learning_rate = 0.5}, step, total, total);
      EXPECT_GT(rate, 0) << step << " of " << total;
      EXPECT_LE(rate, 0.5) << step << " of " << total;
    }
  }
}

TEST(ScheduleTest, WarmupRisesInALineAndTheScheduleTakesTheRest) {
  const ScheduleOptions options{
      .name = "cosine", .learning_rate = 0.5, .warmup_epochs = 2, .warmup_learning_rate = 0.1};
  EXPECT_EQ(At(options, 0), 0.1);
  EXPECT_NEAR(At(options, 5), 0.2, Tolerance(0.5));
  EXPECT_NEAR(At(options, 19), 0.48, Tolerance(0.5));
  EXPECT_NEAR(At(options, 20), 0.5, Tolerance(0.5));
  EXPECT_NEAR(At(options, 60), 0.25, Tolerance(0.5));  // half of the 80 that are left
}

TEST(ScheduleTest, WarmupOfPartOfAnEpoch) {
  const ScheduleOptions options{.learning_rate = 0.4, .warmup_epochs = 0.4};
  EXPECT_EQ(At(options, 0), 0);
  EXPECT_NEAR(At(options, 3), 0.3, Tolerance(0.4));
  EXPECT_EQ(At(options, 4), 0.4);
}

TEST(ScheduleTest, MilestonesCountFromTheRunsStartInSpiteOfWarmup) {
  const ScheduleOptions options{.name = "multistep",
                                .learning_rate = 0.8,
                                .decay_rate = 0.5,
                                .decay_milestones = {5},
                                .warmup_epochs = 2};
  EXPECT_EQ(At(options, 20), 0.8);
  EXPECT_EQ(At(options, 49), 0.8);
  EXPECT_EQ(At(options, 50), 0.4);
}

TEST(ScheduleTest, WarmupLongerThanTheRun) {
  const ScheduleOptions options{.name = "cosine", .learning_rate = 0.5, .warmup_epochs = 1e6};
  EXPECT_NEAR(At(options, 99), 0.5 * 99 / 1e7, Tolerance(0.5));
}

TEST(ScheduleTest, StepsPastTheEndKeepTheLastRate) {
  for (const std::string& name : ScheduleNames()) {
    const ScheduleOptions options{.name = name, .learning_rate = 0.5, .decay_milestones = {20}};
    EXPECT_EQ(At(options, 1000), At(options, 99)) << name;
  }
}

TEST(ScheduleTest, IsFiniteForOneStep) {
  for (const std::string& name : ScheduleNames()) {
    const double rate = LearningRate({.name = name, .learning_rate = 0.5}, 0, 1, 1);
    EXPECT_TRUE(std::isfinite(rate)) << name;
    EXPECT_GE(rate, 0) << name;
  }
}

TEST(ScheduleTest, RefusesWhatItCannotDo) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const auto expect = [](const ScheduleOptions& options, const std::string& part) {
    try {
      At(options, 0);
      ADD_FAILURE() << "accepted; expected a message with " << part;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), Error::Kind::kUsage);
      EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
    }
  };
  expect({.name = "cosin"}, "cosine");
  expect({.learning_rate = nan}, "lr is nan");
  expect({.learning_rate = -1}, "lr is -1");
  expect({.name = "step", .decay_epochs = 0}, "decay-epochs");
  expect({.name = "onecycle", .warmup_epochs = 1}, "warm-up of its own");
  expect({.name = "onecycle", .onecycle_warmup_fraction = 1}, "fraction");
  expect({.name = "onecycle", .onecycle_initial_divisor = 0}, "initial divisor");
}

}  // namespace
}  // namespace thinwire
