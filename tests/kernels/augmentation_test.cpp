#include "kernels/augmentation.h"

#include <span>

#include "kernels/error.h"
#include "tests/device_test.h"
#include "tests/reference/augmentation.h"

namespace thinwire {
namespace {

template <typename Backend>
class AugmentationTest : public DeviceTest<Backend> {};
TYPED_TEST_SUITE(AugmentationTest, Backends);

/// Any shifts, as far out as `reach`, flips and squares.
std::vector<Augmentation> RandomAugmentations(const AugmentationShape& s, int64_t reach) {
  RandomStream random(5, static_cast<uint64_t>(s.image_size()));
  const auto below = [&](int64_t bound) {
    return static_cast<int32_t>(random.Below(static_cast<uint32_t>(bound)));
  };
  std::vector<Augmentation> all(static_cast<size_t>(s.batch));
  for (Augmentation& one : all) {
    const auto shift = [&] { return below(2 * reach + 1) - static_cast<int32_t>(reach); };
    one = {shift(), shift(), below(2), below(s.height), below(s.width)};
  }
  return all;
}

TYPED_TEST(AugmentationTest, EqualsThePlainLoop) {
  Device& device = *this->device_;
  for (const AugmentationShape& shape : {AugmentationShape{1, 1, 1, 1},
                                         {0, 4, 4, 3},
                                         {3, 5, 7, 3, 2},
                                         {2, 28, 28, 1, 9},
                                         {33, 3, 31, 2, 1},
                                         {7, 32, 32, 3, 16},
                                         {2, 9, 128, 3},
                                         {5, 2, 3, 32, 4}}) {
    const auto channels = static_cast<size_t>(shape.channels);
    std::vector<float> mean, deviation;
    for (size_t c = 0; c < channels; ++c) {
      mean.push_back(0.25f + 0.0625f * static_cast<float>(c));
      deviation.push_back(0.5f / static_cast<float>(c + 1));
    }
    const std::vector<float> table = reference::NormalizationTable(mean, deviation);
    const auto operation = device.MakeAugmentation(shape, table);
    RandomStream random(7, static_cast<uint64_t>(shape.batch));
    std::vector<uint8_t> bytes(static_cast<size_t>(shape.batch * shape.image_size()));
    for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random.Next());
    // Further than the image is large: then all of it is black.
    const auto augmentations = RandomAugmentations(shape, std::max(shape.height, shape.width) + 1);

    for (const int64_t missing : {int64_t{0}, int64_t{1}, shape.batch}) {
      const int64_t rows = std::max<int64_t>(shape.batch - missing, 0);
      std::vector<float> expected;
      for (int64_t i = 0; i < rows; ++i) {
        const auto image = std::span(bytes).subspan(static_cast<size_t>(i * shape.image_size()),
                                                    static_cast<size_t>(shape.image_size()));
        const auto one = reference::Augment(shape, mean, deviation,
                                            augmentations[static_cast<size_t>(i)], image);
        expected.insert(expected.end(), one.begin(), one.end());
      }
      expected.resize(bytes.size(), 0.0f);

      const int64_t misalignment = missing == 0 ? 0 : 1;
      const TestBuffer<uint8_t> images(device, bytes, misalignment);
      const auto drawn = std::as_bytes(std::span(augmentations));
      Buffer drawn_on_device = device.Allocate(std::ssize(drawn));
      const View drawn_view = drawn_on_device.view(DataType::kUint8).Slice(0, std::ssize(drawn));
      device.CopyFromHost(drawn.data(), drawn_view);
      TestBuffer<float> output(device, std::vector<float>(bytes.size(), 12345.0f), misalignment);
      operation->Run(images.view().Slice(0, rows * shape.image_size()), drawn_view, output);
      EXPECT_EQ(output.Read(), expected)
          << shape.height << "x" << shape.width << "x" << shape.channels << ", " << rows << " of "
          << shape.batch << " images";
    }
  }
}

TYPED_TEST(AugmentationTest, RefusesShapesThatMakeNoSense) {
  const std::vector<float> table(3 * kByteValues), wide(33 * kByteValues);
  Device& device = *this->device_;
  EXPECT_THROW(device.MakeAugmentation({1, 0, 4, 3}, table), Error);
  EXPECT_THROW(device.MakeAugmentation({1, 4, 4, 1}, table), Error);
  EXPECT_THROW(device.MakeAugmentation({1, 4, 4, 3, -1}, table), Error);
  EXPECT_THROW(device.MakeAugmentation({1, 4, 4, 33}, wide), Error);
}

}  // namespace
}  // namespace thinwire
