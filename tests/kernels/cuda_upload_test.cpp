// Data on its way to a GPU, while the host goes on.
#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>

#include "kernels/cuda/queue.h"
#include "kernels/cuda/step_argument_upload.h"
#include "kernels/staged_copy.h"
#include "tests/device_test.h"

namespace thinwire {
namespace {

/// Where the GPU is simulated, and is the first of this process, it does nothing before something
/// waits for it, so that memory which is overwritten too early shows.
std::unique_ptr<Device> MakeLazyDevice() {
  setenv("GPUSIM_STREAMS", "lazy", 0);
  return MakeTestDevice();
}

// Several times around the memory that they pass through.
TEST(CudaUploadTest, ArgumentsArriveInOrder) {
  const auto device = MakeLazyDevice();
  if (device == nullptr) GTEST_SKIP() << kNoGpu;
  constexpr int kUploads = 20;
  const cudaStream_t stream = cuda::QueueOf(*device).stream;
  std::vector<Buffer> copies;
  cuda::StepArgumentUpload upload;
  const auto arguments = [](int i) {
    const size_t size = i % 7 == 6 ? cuda::StepArgumentUpload::kBytes : 9000 + 1000 * (i % 5);
    return std::vector<std::byte>(size, static_cast<std::byte>(i + 1));
  };
  for (int i = 0; i < kUploads; ++i) {
    auto values = arguments(i);
    upload.Enqueue(values, stream);
    std::fill(values.begin(), values.end(), std::byte{});
    copies.push_back(device->Allocate(std::ssize(values)));
    ASSERT_EQ(cudaMemcpyAsync(copies.back().data(), upload.destination(), values.size(),
                              cudaMemcpyDeviceToDevice, stream),
              cudaSuccess);
  }
  for (int i = 0; i < kUploads; ++i) {
    std::vector<std::byte> values(arguments(i).size());
    device->CopyToHost(copies[static_cast<size_t>(i)].view(DataType::kUint8), values.data());
    EXPECT_TRUE(values == arguments(i)) << i;
  }
}

// Each copy is moved to where it is wanted, and kept there, before the next one.
TEST(CudaUploadTest, StagedCopiesArriveInOrderByAnyNumberOfPlaces) {
  const auto device = MakeLazyDevice();
  if (device == nullptr) GTEST_SKIP() << kNoGpu;
  constexpr int64_t kBytes = 5000, kCopies = 9;
  for (const int64_t places : {1, 2, 3}) {
    const auto staged = MakeStagedCopy(*device, kBytes, places);
    const Buffer destination = device->Allocate(kBytes);
    const Buffer kept = device->Allocate(kBytes * kCopies);
    for (int64_t i = 0; i < kCopies; ++i) {
      std::ranges::fill(staged->Memory(), static_cast<std::byte>(i + 1));
      staged->Start(kBytes - i);
      staged->Finish(destination.view(DataType::kUint8));
      device->Copy(destination.view(DataType::kUint8),
                   kept.view(DataType::kUint8).Slice(i * kBytes, kBytes));
    }
    std::vector<uint8_t> values(kBytes * kCopies);
    device->CopyToHost(kept.view(DataType::kUint8), values.data());
    for (int64_t i = 0; i < kCopies; ++i) {
      const auto begin = values.begin() + i * kBytes;
      EXPECT_EQ(std::count(begin, begin + kBytes, i + 1), kBytes - i) << places;
    }
  }
}

}  // namespace
}  // namespace thinwire
