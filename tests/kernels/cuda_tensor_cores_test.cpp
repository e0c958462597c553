// GpuOptions::tf32: what linear layers ask of cuBLASLt, and that either setting computes. What
// convolutions ask of cuDNN is tested in tests/planning.
#include <cublasLt.h>
#include <dlfcn.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <vector>

#include "tests/device_test.h"

namespace {

/// What cuBLASLt has been asked for since the last Clear.
struct Asked {
  std::vector<cublasComputeType_t> types;
  std::vector<uint64_t> implementations;  // masks of what is allowed

  void Clear() { *this = {}; }
} asked;

template <typename Function>
Function Library(const char* name, Function) {
  return reinterpret_cast<Function>(dlsym(RTLD_NEXT, name));
}

}  // namespace

// The program's own come before the library's.
extern "C" cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t* product,
                                                   cublasComputeType_t type, cudaDataType_t scale) {
  asked.types.push_back(type);
  return Library("cublasLtMatmulDescCreate", &cublasLtMatmulDescCreate)(product, type, scale);
}

extern "C" cublasStatus_t cublasLtMatmulPreferenceSetAttribute(
    cublasLtMatmulPreference_t preference, cublasLtMatmulPreferenceAttributes_t attribute,
    const void* value, size_t bytes) {
  if (attribute == CUBLASLT_MATMUL_PREF_IMPL_MASK && bytes == sizeof(uint64_t)) {
    std::memcpy(&asked.implementations.emplace_back(), value, bytes);
  }
  return Library("cublasLtMatmulPreferenceSetAttribute", &cublasLtMatmulPreferenceSetAttribute)(
      preference, attribute, value, bytes);
}

namespace thinwire {
namespace {

class CudaTf32Test : public ::testing::Test {
 protected:
  void SetUp() override {
    if (CudaDeviceCount() == 0) GTEST_SKIP() << kNoGpu;
    asked.Clear();
  }
};

TEST_F(CudaTf32Test, LinearLayersUseNoTensorCoresUnlessTf32IsOn) {
  MakeCudaDevice(0)->MakeLinear({8, 16, 16});
  EXPECT_EQ(asked.types, std::vector(3, CUBLAS_COMPUTE_32F));
  ASSERT_EQ(asked.implementations.size(), 3u);
  for (const uint64_t allowed : asked.implementations) {
    EXPECT_EQ(allowed & CUBLASLT_NUMERICAL_IMPL_FLAGS_TENSOR_OP_MASK, 0u);
    EXPECT_NE(allowed & CUBLASLT_NUMERICAL_IMPL_FLAGS_FMA, 0u);
  }
}

TEST_F(CudaTf32Test, LinearLayersMayUseThemWithTf32) {
  MakeCudaDevice(0, {.tf32 = true})->MakeLinear({8, 16, 16});
  EXPECT_EQ(asked.types, std::vector(3, CUBLAS_COMPUTE_32F_FAST_TF32));
  EXPECT_TRUE(asked.implementations.empty());
}

TEST_F(CudaTf32Test, ResultsDifferByRoundedFactorsAtMost) {
  const ConvolutionShape shape{.batch = 4,
                               .height = 8,
                               .width = 8,
                               .in_channels = 16,
                               .out_channels = 16,
                               .kernel_height = 3,
                               .kernel_width = 3,
                               .padding_height = 1,
                               .padding_width = 1};
  const auto x = RandomNormal(shape.input_size(), 1), w = RandomNormal(shape.filter_size(), 2);
  const auto run = [&](bool tf32) {
    const auto device = MakeCudaDevice(0, {.tf32 = tf32});
    EXPECT_EQ(device->description().find("TF32") != std::string::npos, tf32);
    TestBuffer<float> input(*device, x), filter(*device, w), output(*device, shape.output_size());
    device->MakeConvolution(shape)->Forward(input, filter, {}, output);
    return output.Read();
  };
  const auto exact = run(false), rounded = run(true);
  // Two factors of up to about 4, each rounded by 2^-11, in 144 products; random signs.
  for (size_t i = 0; i < exact.size(); ++i) ASSERT_NEAR(rounded[i], exact[i], 0.1) << i;
}

}  // namespace
}  // namespace thinwire
