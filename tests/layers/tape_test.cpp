#include "tests/layers/tape.h"

#include <gtest/gtest.h>

namespace thinwire {
namespace {

TEST(Tape, DifferentiatesEveryOperation) {
  Tape tape;
  const auto x = tape.Constant(2), y = tape.Constant(-3);
  // f = (x y + 3 x + 5) + relu(x) + relu(y) + 1/sqrt(x) + exp(y) + log(x)
  auto f = tape.AddConstant(tape.Add(tape.Multiply(x, y), tape.Scale(x, 3)), 5);
  for (const auto term :
       {tape.Relu(x), tape.Relu(y), tape.InverseSquareRoot(x), tape.Exp(y), tape.Log(x)}) {
    f = tape.Add(f, term);
  }
  EXPECT_DOUBLE_EQ(tape.value(f), 5 + 2 + 1 / std::sqrt(2) + std::exp(-3) + std::log(2));
  const auto gradient = tape.Gradient(f);
  EXPECT_DOUBLE_EQ(gradient[x], -3 + 3 + 1 - 0.5 / (2 * std::sqrt(2)) + 0.5);
  EXPECT_DOUBLE_EQ(gradient[y], 2 + std::exp(-3));
}

TEST(Tape, SumsTheGradientsOfAValueUsedTwice) {
  Tape tape;
  const auto x = tape.Constant(3);
  const auto f = tape.Multiply(x, tape.Add(x, x));  // 2 x²
  EXPECT_DOUBLE_EQ(tape.Gradient(f)[x], 12);
}

}  // namespace
}  // namespace thinwire
