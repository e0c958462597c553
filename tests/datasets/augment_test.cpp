#include "datasets/augment.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <map>
#include <numeric>

#include "kernels/random.h"
#include "tests/datasets/testing.h"
#include "tests/reference/augmentation.h"

namespace thinwire {
namespace {

Normalization AnyNormalization(int64_t channels) {
  Normalization normalization;
  for (int64_t c = 0; c < channels; ++c) {
    normalization.mean.push_back(0.25f + 0.125f * static_cast<float>(c));
    normalization.deviation.push_back(0.5f / static_cast<float>(c + 1));
  }
  return normalization;
}

TEST(Augment, ByHand) {
  // (pixel / 255 - 0.2) / 0.4 of 0, 51, 102, 153, 204 and 255 is -0.5, 0, 0.5, 1, 1.5 and 2.
  const Normalization normalization{{0.2f}, {0.4f}};
  const std::vector<uint8_t> image = {51, 102, 153, 255};
  const Augmenter augmenter(2, 2, 1, normalization, {.crop_padding = 1}, 0);
  std::vector<float> output(4);
  const auto expect = [&](const Augmentation& augmentation, const std::vector<float>& expected) {
    augmenter.Apply(augmentation, image.data(), output.data());
    // The given mean and deviation are themselves rounded to float32: a few ulp of 2.
    for (size_t i = 0; i < 4; ++i) EXPECT_NEAR(output[i], expected[i], 8 * 0x1p-23) << i;
  };
  expect({}, {0, 0.5f, 1, 2});
  expect({.flip = true}, {0.5f, 0, 2, 1});
  expect({.shift_y = 1}, {1, 2, -0.5f, -0.5f});
  expect({.shift_x = -1}, {-0.5f, 0, -0.5f, 1});
  expect({.shift_y = 1, .shift_x = -1, .flip = true}, {1, -0.5f, -0.5f, -0.5f});

  const Augmenter cutting(2, 2, 1, normalization, {.cutout = 1}, 0);
  cutting.Apply({.cutout_y = 1, .cutout_x = 1}, image.data(), output.data());
  EXPECT_EQ(output[3], 0);
  EXPECT_NEAR(output[2], 1, 8 * 0x1p-23);
}

TEST(Augment, EqualsThePlainLoop) {
  struct Size {
    int64_t height, width, channels;
  };
  for (const auto [height, width, channels] :
       {Size{1, 1, 1}, Size{2, 2, 3}, Size{5, 7, 3}, Size{28, 28, 1}, Size{3, 31, 2},
        Size{32, 32, 3}, Size{33, 9, 4}}) {
    const auto size = static_cast<size_t>(height * width * channels);
    std::vector<uint8_t> image(size);
    RandomStream random(7, size);
    for (uint8_t& pixel : image) pixel = static_cast<uint8_t>(random.Next());
    const Normalization normalization = AnyNormalization(channels);
    const int64_t padding = std::min(height, width);
    for (const int64_t cutout : {int64_t{0}, int64_t{1}, padding / 2, 2 * padding}) {
      const Augmenter augmenter(height, width, channels, normalization,
                                {.crop_padding = padding, .flip = true, .cutout = cutout}, 3);
      for (int64_t draw = 0; draw < 60; ++draw) {
        Augmentation augmentation = augmenter.Draw(draw, 11);
        if (draw < 4) {  // as far out as can be
          const auto far = static_cast<int32_t>(padding);
          augmentation.shift_y = draw < 2 ? far : -far;
          augmentation.shift_x = draw % 2 == 0 ? far : -far;
        }
        const std::vector<float> expected =
            reference::Augment({1, height, width, channels, cutout}, normalization.mean,
                               normalization.deviation, augmentation, image);
        constexpr float kSentinel = 12345;
        const size_t misalignment = static_cast<size_t>(draw) % 4;
        std::vector<float> output(misalignment + size + 8, kSentinel);
        augmenter.Apply(augmentation, image.data(), output.data() + misalignment);
        for (size_t i = 0; i < output.size(); ++i) {
          const bool inside = i >= misalignment && i < misalignment + size;
          ASSERT_EQ(output[i], inside ? expected[i - misalignment] : kSentinel)
              << height << "x" << width << "x" << channels << " draw " << draw << " at " << i;
        }
      }
    }
  }
}

TEST(Augment, DrawsEveryShiftAndFlipAboutEquallyOften) {
  constexpr int64_t kDraws = 20'000, kPadding = 2;
  const Augmenter augmenter(32, 32, 3, AnyNormalization(3),
                            {.crop_padding = kPadding, .flip = true, .cutout = 8}, 42);
  std::map<std::array<int64_t, 3>, int64_t> counts;
  std::array<int64_t, 32> rows{}, columns{};
  for (int64_t i = 0; i < kDraws; ++i) {
    const Augmentation drawn = augmenter.Draw(i / 1000, i % 1000);
    ++counts[{drawn.shift_y, drawn.shift_x, drawn.flip ? 1 : 0}];
    ++rows.at(static_cast<size_t>(drawn.cutout_y));
    ++columns.at(static_cast<size_t>(drawn.cutout_x));
  }
  // Five standard deviations of a binomial count.
  const auto expect_near = [](int64_t count, double share) {
    const double expected = share * kDraws;
    EXPECT_NEAR(static_cast<double>(count), expected, 5 * std::sqrt(expected * (1 - share)));
  };
  EXPECT_EQ(counts.size(), 5u * 5u * 2u);
  for (const auto& [drawn, count] : counts) expect_near(count, 1.0 / 50);
  for (size_t i = 0; i < 32; ++i) {
    expect_near(rows[i], 1.0 / 32);
    expect_near(columns[i], 1.0 / 32);
  }
}

TEST(Augment, DrawsArePure) {
  const auto draws = [](uint64_t seed, const AugmentationOptions& options, int64_t epoch) {
    const Augmenter augmenter(32, 32, 3, AnyNormalization(3), options, seed);
    std::vector<int64_t> all;
    for (int64_t i = 0; i < 50; ++i) {
      const Augmentation drawn = augmenter.Draw(epoch, i);
      all.insert(all.end(), {drawn.shift_y, drawn.shift_x, drawn.cutout_y, drawn.cutout_x});
    }
    return all;
  };
  const AugmentationOptions options{.crop_padding = 4, .flip = true, .cutout = 16};
  EXPECT_EQ(draws(1, options, 0), draws(1, options, 0));
  EXPECT_NE(draws(1, options, 0), draws(2, options, 0));
  EXPECT_NE(draws(1, options, 0), draws(1, options, 1));
  EXPECT_EQ(draws(1, options, 0), draws(1, {.crop_padding = 4, .flip = false, .cutout = 8}, 0));
}

TEST(Augment, NothingIsDrawnThatIsNotAskedFor) {
  const Augmenter augmenter(32, 32, 3, AnyNormalization(3), {}, 9);
  for (int64_t i = 0; i < 100; ++i) {
    const Augmentation drawn = augmenter.Draw(0, i);
    EXPECT_EQ(drawn.shift_y, 0);
    EXPECT_EQ(drawn.shift_x, 0);
    EXPECT_FALSE(drawn.flip);
  }
}

TEST(Augment, RefusesWhatMakesNoSense) {
  const auto refused = [](const Normalization& normalization, const AugmentationOptions& options,
                          const std::string& part) {
    ExpectError([&] { Augmenter(8, 6, 3, normalization, options, 0); }, {part},
                Error::Kind::kUsage);
  };
  const Normalization fine = AnyNormalization(3);
  Augmenter(8, 6, 3, fine, {.crop_padding = 6, .cutout = 12}, 0);
  refused(fine, {.crop_padding = -1}, "crop padding of -1");
  refused(fine, {.crop_padding = 7}, "crop padding of 7");
  refused(fine, {.cutout = -1}, "cutout of -1");
  refused(fine, {.cutout = 13}, "cutout of 13");
  refused(AnyNormalization(1), {}, "3 channels");
  refused({{0, 0, 0}, {1, 0, 1}}, {}, "channel 1");
  refused({{0, 0, std::numeric_limits<float>::quiet_NaN()}, {1, 1, 1}}, {}, "channel 2");
}

}  // namespace
}  // namespace thinwire
