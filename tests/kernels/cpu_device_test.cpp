// What is the CPU's own: memory, and results that do not depend on the number of threads.
#include <cstring>
#include <functional>
#include <limits>

#include "kernels/error.h"
#include "tests/device_test.h"

namespace thinwire {
namespace {

TEST(CpuDevice, MemoryIsAlignedZeroedAndCounted) {
  const auto device = MakeCpuDevice(2);
  const int64_t before = device->allocated_bytes();
  for (const int64_t bytes : {int64_t{0}, int64_t{1}, int64_t{4096}, int64_t{5} << 20}) {
    Buffer buffer = device->Allocate(bytes);
    EXPECT_TRUE(buffer);
    EXPECT_EQ(buffer.bytes(), bytes);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(buffer.data()) % 128, 0u);
    EXPECT_EQ(device->allocated_bytes(), before + bytes);
    const uint8_t* data = buffer.view(DataType::kUint8).as<uint8_t>();
    for (int64_t i = 0; i < bytes; ++i) ASSERT_EQ(data[i], 0);
    if (bytes > 0) std::memset(buffer.data(), 0xFF, static_cast<size_t>(bytes));
    const Buffer moved = std::move(buffer);
    EXPECT_EQ(device->allocated_bytes(), before + bytes);
  }
  EXPECT_EQ(device->allocated_bytes(), before);
}

TEST(CpuDevice, OutOfMemorySaysHowMuchWasAsked) {
  const auto device = MakeCpuDevice(2);
  const MemoryScope scope(*device, MemoryUse::kOptimizer);
  const Buffer held = device->Allocate(1000);
  const std::pair<int64_t, const char*> requests[] = {
      {int64_t{1} << 60, "asked for 1099511627776.0 MiB for optimizer state"},
      {std::numeric_limits<int64_t>::max(), "asked for 8796093022208.0 MiB for optimizer state"},
      {-1, "asked for -1 bytes for optimizer state"}};
  for (const auto& [bytes, words] : requests) {
    try {
      device->Allocate(bytes);
      FAIL() << bytes << " bytes were given";
    } catch (const OutOfMemory& error) {
      const std::string message = error.what();
      EXPECT_NE(message.find(words), std::string::npos) << message;
      EXPECT_NE(message.find("1000 bytes for optimizer state"), std::string::npos) << message;
    }
  }
  EXPECT_EQ(device->allocated_bytes(), held.bytes());
}

TEST(CpuDevice, TheWorkspaceGrowsAndNeverShrinks) {
  const auto device = MakeCpuDevice(2);
  device->ReserveWorkspace(1000);
  device->ReserveWorkspace(10);
  EXPECT_GE(device->workspace().size, 1000);
  device->ReserveWorkspace(5000);
  EXPECT_GE(device->workspace().size, 5000);
}

TEST(CpuDevice, DescribesItself) {
  const auto device = MakeCpuDevice(2);
  EXPECT_STREQ(device->kind(), "cpu");
  EXPECT_NE(device->description().find("2 threads"), std::string::npos);
}

/// Runs `work` on devices of 1, 2 and 3 threads; it returns buffers whose bytes must be the same.
void ExpectSameForAnyThreads(const std::function<std::vector<std::vector<float>>(Device&)>& work) {
  const auto one = work(*MakeCpuDevice(1));
  for (const int threads : {2, 3}) {
    const auto several = work(*MakeCpuDevice(threads));
    ASSERT_EQ(one.size(), several.size());
    for (size_t i = 0; i < one.size(); ++i) {
      ASSERT_EQ(one[i].size(), several[i].size());
      EXPECT_EQ(std::memcmp(one[i].data(), several[i].data(), one[i].size() * sizeof(float)), 0)
          << "output " << i << " with " << threads << " threads";
    }
  }
}

TEST(CpuDeviceThreads, BatchNorm) {
  for (const int64_t channels : {17, 64}) {
    ExpectSameForAnyThreads([&](Device& device) {
      const BatchNormShape shape{
          .rows = 40009, .channels = channels, .residual = channels == 64, .relu = true};
      const int64_t size = shape.rows * channels;
      TestBuffer<float> x(device, RandomNormal(size, 1)), residual(device, RandomNormal(size, 2)),
          gradient(device, RandomNormal(size, 3)), scale(device, RandomNormal(channels, 4)),
          shift(device, RandomNormal(channels, 5)), running_mean(device, channels),
          running_variance(device, channels), mean(device, channels), inverse(device, channels),
          y(device, size), x_gradient(device, size), scale_gradient(device, channels),
          shift_gradient(device, channels);
      const auto batch_norm = device.MakeBatchNorm(shape);
      batch_norm->ForwardTraining(x, shape.residual ? residual.view() : View{}, scale, shift,
                                  running_mean, running_variance, mean, inverse, y);
      batch_norm->Backward(x, y, gradient, {}, scale, shift, mean, inverse, {}, x_gradient, {},
                           scale_gradient, shift_gradient);
      return std::vector<std::vector<float>>{y.Read(),
                                             mean.Read(),
                                             inverse.Read(),
                                             running_mean.Read(),
                                             x_gradient.Read(),
                                             running_variance.Read(),
                                             scale_gradient.Read(),
                                             shift_gradient.Read()};
    });
  }
}

TEST(CpuDeviceThreads, Pooling) {
  ExpectSameForAnyThreads([](Device& device) {
    const PoolingShape shape{.batch = 5,
                             .height = 33,
                             .width = 33,
                             .channels = 64,
                             .window_height = 3,
                             .window_width = 3,
                             .padding_height = 1,
                             .padding_width = 1};
    const int64_t in = 5 * 33 * 33 * 64, out = 5 * shape.out_height() * shape.out_width() * 64;
    TestBuffer<float> x(device, RandomNormal(in, 1)), y(device, out),
        gradient(device, RandomNormal(out, 2)), x_gradient(device, in), mean(device, 5 * 64);
    TestBuffer<uint8_t> saved(device, out);
    const auto pooling = device.MakePooling(shape);
    pooling->Forward(x, y, saved);
    pooling->Backward(gradient, saved, x_gradient);
    device.MakeGlobalAveragePooling({5, 33 * 33, 64})->Forward(x, mean);
    return std::vector<std::vector<float>>{y.Read(), x_gradient.Read(), mean.Read()};
  });
}

TEST(CpuDeviceThreads, LossReductionsAndDropout) {
  ExpectSameForAnyThreads([](Device& device) {
    const int64_t size = 300 * 1000;
    TestBuffer<float> x(device, RandomNormal(size, 1)), gradient(device, size), y(device, size);
    TestBuffer<int32_t> labels(device, std::vector<int32_t>(300, 7));
    TestBuffer<double> sum(device, 1);
    TestBuffer<float> scale(device, 1);
    const auto loss = device.MakeLoss({.batch = 300, .classes = 1000, .label_smoothing = 0.1f});
    loss->Run(x, labels, 0.25f, 1, gradient);
    device.SumOfSquares(x, sum);
    device.ClipScale(sum, 1, scale);
    device.Dropout(x, 0.5f, 1, 2, y);
    const double loss_sum = loss->ReadResult().loss_sum;
    std::vector<float> bits(2);
    std::memcpy(bits.data(), &loss_sum, sizeof(loss_sum));
    return std::vector<std::vector<float>>{gradient.Read(), y.Read(), scale.Read(), bits};
  });
}

TEST(CpuDeviceThreads, Updates) {
  ExpectSameForAnyThreads([](Device& device) {
    const int64_t size = 100003;
    TestBuffer<float> x(device, RandomNormal(size, 1)), g(device, RandomNormal(size, 2)),
        m(device, size), v(device, size), v_max(device, size);
    device.Update(AdamUpdate{.common = {.learning_rate = 0.1}}, g, m, v, v_max, x);
    device.Update(MomentumUpdate{.common = {.learning_rate = 0.1}, .momentum = 0.9}, g, m, x);
    device.Update(RmspropUpdate{.common = {.learning_rate = 0.1}}, g, v, m, x);
    return std::vector<std::vector<float>>{x.Read(), m.Read(), v.Read(), v_max.Read()};
  });
}

}  // namespace
}  // namespace thinwire
