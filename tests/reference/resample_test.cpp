#include "tests/reference/resample.h"

#include <gtest/gtest.h>

namespace thinwire::reference {
namespace {

std::vector<uint8_t> Grey(const std::vector<int>& values) {
  std::vector<uint8_t> image;
  for (const int value : values) image.insert(image.end(), 3, static_cast<uint8_t>(value));
  return image;
}

std::vector<double> Reds(const std::vector<double>& image) {
  std::vector<double> reds;
  for (size_t i = 0; i < image.size(); i += 3) reds.push_back(image[i]);
  return reds;
}

void ExpectNear(const std::vector<double>& actual, const std::vector<double>& expected) {
  ASSERT_EQ(actual.size(), expected.size());
  for (size_t i = 0; i < actual.size(); ++i) EXPECT_NEAR(actual[i], expected[i], 1e-12) << i;
}

TEST(ReferenceResample, HandMadeValues) {
  // Enlarging: output centres at 1/4, 3/4, 5/4, 7/4 of two inputs with centres 1/2 and 3/2.
  ExpectNear(Reds(Resample(Grey({0, 100}), 2, 0, 0, 2, 1, 4, 1)), {0, 25, 75, 100});
  // Halving: weights 1/4, 3/4, 3/4, 1/4 around an output, those that there are.
  ExpectNear(
      Reds(Resample(Grey({10, 20, 40, 80}), 4, 0, 0, 4, 1, 2, 1)),
      {(0.75 * 10 + 0.75 * 20 + 0.25 * 40) / 1.75, (0.25 * 20 + 0.75 * 40 + 0.75 * 80) / 1.75});
  // The same along the other axis.
  ExpectNear(Reds(Resample(Grey({0, 100}), 1, 0, 0, 1, 2, 1, 4)), {0, 25, 75, 100});
  // A crop does not see what is outside.
  ExpectNear(Reds(Resample(Grey({7, 0, 100, 9}), 4, 1, 0, 3, 1, 4, 1)), {0, 25, 75, 100});
  ExpectNear(Reds(Resample(Grey({1, 2, 3, 4, 5, 6}), 3, 0, 0, 3, 2, 3, 2)), {1, 2, 3, 4, 5, 6});
}

}  // namespace
}  // namespace thinwire::reference
