// Ranges that an arena is cut into, and arenas that are a part of another.
#include "kernels/arena_buckets.h"

#include <gtest/gtest.h>

#include "kernels/error.h"

namespace thinwire {
namespace {

TensorSpec Tensor(const char* name, TensorRole role, int64_t size) {
  return {.name = name, .role = role, .shape = {size}, .flattened_from = {}};
}

/// Weights a, b, c of 300, 100 and 260 elements and biases of one: 384 + 128 + 384 and 2 * 128 with
/// padding.
ParameterArena MakeArena(Device& device, DataType activations = DataType::kFloat32) {
  return {device,
          {Tensor("a", TensorRole::kLinearWeight, 300), Tensor("a.bias", TensorRole::kBias, 1),
           Tensor("mean", TensorRole::kRunningMean, 5), Tensor("b", TensorRole::kLinearWeight, 100),
           Tensor("c", TensorRole::kLinearWeight, 260), Tensor("c.bias", TensorRole::kBias, 1)},
          DataType::kFloat32,
          activations};
}

using Ranges = std::vector<Range>;

TEST(ArenaBucketsTest, EvenOnesAreCutFromTheGroupsEnds) {
  const auto device = MakeCpuDevice(1);
  const ParameterArena arena = MakeArena(*device);
  ASSERT_EQ(arena.padded_size(), 1152);
  EXPECT_EQ(CutEvenly(arena, 1 << 20), (Ranges{{0, 896}, {896, 1152}}));
  EXPECT_EQ(CutEvenly(arena, 384), (Ranges{{0, 128}, {128, 512}, {512, 896}, {896, 1152}}));
}

TEST(ArenaBucketsTest, TensorsStayWhole) {
  const auto device = MakeCpuDevice(1);
  const ParameterArena arena = MakeArena(*device);
  const Ranges each = {{0, 384}, {384, 512}, {512, 896}, {896, 1024}, {1024, 1152}};
  EXPECT_EQ(CutAtTensors(arena, 1), each);
  EXPECT_EQ(CutAtTensors(arena, 128), each);
  EXPECT_EQ(CutAtTensors(arena, 129), (Ranges{{0, 512}, {512, 896}, {896, 1152}}));
  EXPECT_EQ(CutAtTensors(arena, 384), (Ranges{{0, 512}, {512, 896}, {896, 1152}}));
  EXPECT_EQ(CutAtTensors(arena, 385), (Ranges{{0, 384}, {384, 896}, {896, 1152}}));
  EXPECT_EQ(CutAtTensors(arena, 1151), (Ranges{{0, 896}, {896, 1152}}));
  EXPECT_EQ(CutAtTensors(arena, 1152), (Ranges{{0, 1152}}));
}

TEST(ArenaBucketsTest, OfOneGroup) {
  const auto device = MakeCpuDevice(1);
  const ParameterArena weights(*device, {Tensor("a", TensorRole::kLinearWeight, 300),
                                         Tensor("b", TensorRole::kLinearWeight, 1)});
  EXPECT_EQ(CutAtTensors(weights, 128), (Ranges{{0, 384}, {384, 512}}));
  EXPECT_EQ(CutEvenly(weights, 256), (Ranges{{0, 256}, {256, 512}}));
  const ParameterArena biases(*device, {Tensor("a", TensorRole::kBias, 300)});
  EXPECT_EQ(CutAtTensors(biases, 128), (Ranges{{0, 384}}));
}

TEST(PartOfArenaTest, SharesMemoryAndCountsFromItsFirstElement) {
  const auto device = MakeCpuDevice(1);
  ParameterArena whole = MakeArena(*device, DataType::kBFloat16);
  const int64_t bytes = device->allocated_bytes();
  ParameterArena part(whole, {384, 1024});
  EXPECT_EQ(device->allocated_bytes(), bytes);
  EXPECT_EQ(part.padded_size(), 640);
  EXPECT_EQ(part.decayed_size(), 512);
  EXPECT_EQ(part.parameter_count(), 361);
  EXPECT_EQ(part.state().size, 0);
  ASSERT_EQ(part.segments().size(), 3u);
  EXPECT_EQ(part.segment("b").offset, 0);
  EXPECT_EQ(part.segment("c").offset, 128);
  EXPECT_EQ(part.segment("a.bias").offset, 512);
  EXPECT_THROW(part.segment("a"), Error);
  EXPECT_EQ(part.value("c").data, whole.value("c").data);
  EXPECT_EQ(part.value("c").size, 260);
  EXPECT_EQ(part.gradient("c").data, whole.gradient("c").data);
  EXPECT_EQ(part.value("c", DataType::kBFloat16).data, whole.value("c", DataType::kBFloat16).data);
  EXPECT_FALSE(ParameterArena(MakeArena(*device), {0, 384}).bfloat16_values());
}

TEST(PartOfArenaTest, HasItsShareOfTheDecayedTensors) {
  const auto device = MakeCpuDevice(1);
  const ParameterArena whole = MakeArena(*device);
  EXPECT_EQ(ParameterArena(whole, {0, 384}).decayed_size(), 384);
  EXPECT_EQ(ParameterArena(whole, {896, 1152}).decayed_size(), 0);
}

}  // namespace
}  // namespace thinwire
