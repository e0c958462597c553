// The reference itself, against values worked out by hand.
#include "tests/reference/updates.h"

#include <gtest/gtest.h>

#include <cmath>

namespace thinwire::reference {
namespace {

using Values = std::vector<double>;

TEST(ReferenceUpdates, Momentum) {
  MomentumUpdate update{.common = {.learning_rate = 0.5, .weight_decay = 0.25}, .momentum = 0.5};
  Values buffer = {2}, x = {4}, none;
  Update(update, 2, {3}, buffer, x);  // g = 6 + 1
  EXPECT_EQ(buffer, Values{8});
  EXPECT_EQ(x, Values{0});
  update.nesterov = true;
  update.common.weight_decay = 0;
  Update(update, 1, {1}, buffer, x);  // buffer 5, step 1 + 2.5
  EXPECT_EQ(x, Values{-1.75});
  update.nesterov = false;
  update.dampening = 0.5;
  Update(update, 1, {4}, buffer, x);  // buffer 2.5 + 2
  EXPECT_EQ(buffer, Values{4.5});
  update.first_step = true;
  Update(update, 1, {4}, buffer, x);
  EXPECT_EQ(buffer, Values{4});
  x = {1};
  Update(update, 1, {1}, none, x);
  EXPECT_EQ(x, Values{0.5});
  update.common = {
      .learning_rate = 0.5, .weight_decay = 1, .decay_form = WeightDecayForm::kDecoupled};
  x = {1};
  Update(update, 1, {1}, none, x);
  EXPECT_EQ(x, Values{0});
}

TEST(ReferenceUpdates, Adam) {
  AdamUpdate update{.common = {.learning_rate = 0.5}, .beta1 = 0.5, .beta2 = 0.75, .epsilon = 1};
  Values m = {0}, v = {0}, v_max, x = {0};
  Update(update, 1, {2}, m, v, v_max, x);  // m 1, v 1; corrected 2 and 4
  EXPECT_EQ(m, Values{1});
  EXPECT_EQ(v, Values{1});
  EXPECT_DOUBLE_EQ(x[0], -0.5 * 2 / 3);
  update.form = AdamUpdate::Form::kPaper;
  v_max = {14};
  x = {0};
  Update(update, 1, {-1}, m, v, v_max, x);  // m 0
  EXPECT_EQ(x, Values{0});
  EXPECT_EQ(v, Values{1});
  Update(update, 1, {10}, m, v, v_max, x);  // m 5, v 0.75 + 25
  EXPECT_EQ(v_max, Values{25.75});
  EXPECT_DOUBLE_EQ(x[0], -0.5 * 5 / std::sqrt(26.75));
  update.epsilon_inside = false;
  x = {0};
  Update(update, 1, {5}, m, v, v_max, x);  // m 5
  EXPECT_DOUBLE_EQ(x[0], -0.5 * 5 / (std::sqrt(25.75) + 1));
}

TEST(ReferenceUpdates, Rmsprop) {
  const RmspropUpdate update{
      .common = {.learning_rate = 0.5}, .alpha = 0.75, .epsilon = 1, .momentum = 0.5};
  Values v = {0}, buffer = {1}, x = {0}, none;
  Update(update, 1, {4}, v, buffer, x);  // v 4, step 4 / 3
  EXPECT_EQ(v, Values{4});
  EXPECT_DOUBLE_EQ(buffer[0], 0.5 + 4.0 / 3);
  EXPECT_DOUBLE_EQ(x[0], -0.5 * (0.5 + 4.0 / 3));
  v = x = {0};
  Update(update, 1, {4}, v, none, x);
  EXPECT_DOUBLE_EQ(x[0], -0.5 * 4 / 3);
}

TEST(ReferenceUpdates, SignSgd) {
  const SignSgdUpdate update{.common = {.learning_rate = 0.5}, .momentum = 0.5};
  Values none, x = {1, 1, 1}, buffer = {4, -4, -1};
  Update(update, 1, {3, 0, -0.5f}, none, x);
  EXPECT_EQ(x, (Values{0.5, 1, 1.5}));
  Update(update, 1, {-3, 4, 0}, buffer, x);
  EXPECT_EQ(buffer, (Values{0.5, 0, -0.5}));
  EXPECT_EQ(x, (Values{0, 1, 2}));
}

TEST(ReferenceUpdates, FrozenAdam) {
  FrozenAdamUpdate update{
      .common = {.learning_rate = 0.5}, .epsilon = 1, .variance_correction = 0.25};
  Values x = {1, 1, 1};
  Update(update, {10, -20, 10}, {1, 4, 0}, x);  // deviations 2 and 4
  EXPECT_EQ(x, (Values{1 - 5.0 / 3, 3, 1}));
  update.common.weight_decay = 0.5;
  x = {2, 2};
  Update(update, {0, 10}, {1, 0}, x);  // coupled decay is not read
  EXPECT_EQ(x, (Values{2, 2}));
  update.common.decay_form = WeightDecayForm::kDecoupled;
  Update(update, {0, 10}, {1, 0}, x);
  EXPECT_EQ(x, (Values{1.5, 1.5}));
}

}  // namespace
}  // namespace thinwire::reference
