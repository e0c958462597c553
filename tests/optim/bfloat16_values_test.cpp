// That every method keeps an arena's bfloat16 copy up to date, and does nothing else differently.
#include <gtest/gtest.h>

#include "kernels/bfloat16.h"
#include "tests/optim/method_cases.h"

namespace thinwire {
namespace {

constexpr double kRate = 0.01;

class BFloat16ValuesTest : public ::testing::TestWithParam<MethodCase> {};

INSTANTIATE_TEST_SUITE_P(All, BFloat16ValuesTest, ::testing::ValuesIn(AllMethodCases()),
                         [](const auto& info) { return info.param.label; });

std::vector<float> Read(const ParameterArena& arena) {
  std::vector<float> values(static_cast<size_t>(arena.padded_size()));
  arena.device().CopyToHost(arena.values(), values.data());
  return values;
}

void ExpectRounded(const ParameterArena& arena, const char* when, int64_t step) {
  const std::vector<float> values = Read(arena);
  std::vector<BFloat16> copy(values.size());
  arena.device().CopyToHost(arena.bfloat16_values(), copy.data());
  for (size_t i = 0; i < values.size(); ++i) {
    ASSERT_EQ(copy[i].bits, ToBFloat16(values[i]).bits)
        << i << " " << when << " step " << step << ": " << values[i];
  }
}

TEST_P(BFloat16ValuesTest, AreTheValuesAfterEveryCall) {
  for (const int ranks : {1, 3}) {
    for (const bool decays_all : {true, false}) {
      SCOPED_TRACE(::testing::Message() << ranks << " ranks, decays all " << decays_all);
      OptimizerOptions options = GetParam().options;
      options.decay_norm_and_bias = decays_all;
      std::vector<std::vector<float>> ends;
      for (const DataType activations : {DataType::kBFloat16, DataType::kFloat32}) {
        ThreadGroup group(ranks);
        group.Run([&](int rank) {
          const auto device = MakeCpuDevice(1);
          const auto communicator = group.Join(rank, *device);
          ParameterArena arena(*device, OddSpecs(), DataType::kFloat32, activations);
          SetStart(arena);
          arena.RoundValues();
          const auto optimizer = MakeOptimizer(options, arena, *communicator);
          for (int64_t step = 0; step < 6; ++step) {
            const bool compare = rank == ranks - 1 && activations == DataType::kBFloat16;
            optimizer->BeginStep(kRate);
            if (compare) ExpectRounded(arena, "at the start of", step);
            SetGradient(arena, rank, step);
            optimizer->Step(kRate, {});
            optimizer->CheckStep();
            if (compare) ExpectRounded(arena, "after", step);
          }
          if (rank == 0) ends.push_back(Read(arena));
        });
      }
      EXPECT_EQ(ends[0], ends[1]);
    }
  }
}

}  // namespace
}  // namespace thinwire
