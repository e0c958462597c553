// Methods that are taken to each bucket of the arena by itself, against the same without buckets.
#include "optim/bucketed_optimizer.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

#include "kernels/error.h"
#include "tests/optim/replicas.h"

namespace thinwire {
namespace {

constexpr double kRate = 0.01;

/// Every case, with a scale for each tensor where it is the sign's.
std::vector<MethodCase> Cases() {
  std::vector<MethodCase> cases = AllMethodCases();
  for (MethodCase& method : cases) {
    if (method.options.scale_granularity == "model") method.options.scale_granularity = "tensor";
  }
  for (const char* name : {"ef21", "ef21-bc", "ef21-sgdm", "ef21-sgd2m", "ef14", "topk-amsgrad"}) {
    std::string label = std::string(name) + "_sign";
    std::replace(label.begin(), label.end(), '-', '_');
    cases.push_back({label, {.name = name, .compressor = "sign", .scale_granularity = "tensor"}});
  }
  return cases;
}

class BucketedOptimizerTest : public ::testing::TestWithParam<MethodCase> {
 protected:
  MethodCase WithBuckets(int64_t elements) const {
    MethodCase method = GetParam();
    method.options.bucket_elements = elements;
    return method;
  }
};

INSTANTIATE_TEST_SUITE_P(All, BucketedOptimizerTest, ::testing::ValuesIn(Cases()),
                         [](const auto& info) { return info.param.label; });

std::vector<double> Train(const MethodCase& method, const std::string& server, DataType type,
                          int ranks, int64_t steps) {
  std::vector<double> end;
  ThreadGroup group(ranks);
  group.Run([&](int rank) {
    const auto device = MakeCpuDevice(1);
    const auto communicator = group.Join(rank, *device);
    const auto values = TrainReplicas(method, server, type, steps, *device, *communicator);
    if (rank == 0) end = values;
  });
  return end;
}

// Where one rank has all of a tensor, its sums are what they are without buckets.
TEST_P(BucketedOptimizerTest, OfACentralServerHasTheSameBits) {
  const auto without = Train(WithBuckets(0), "central", DataType::kFloat32, 3, 40);
  for (const int64_t elements : {128, 512, 4736}) {
    EXPECT_EQ(Train(WithBuckets(elements), "central", DataType::kFloat32, 3, 40), without)
        << elements;
  }
}

// As central and sharded servers do, these differ by the rounding of sums.
TEST_P(BucketedOptimizerTest, OfShardedServersDiffersByRounding) {
  for (const int ranks : {1, 2, 4, 8}) {
    const auto without = Train(WithBuckets(0), "sharded", DataType::kFloat64, ranks, 30);
    const auto with = Train(WithBuckets(512), "sharded", DataType::kFloat64, ranks, 30);
    EXPECT_LT(LargestDifference(with, without), 1e-9) << ranks << " ranks";
  }
}

/// Costs of rank 0 after some steps, the last one measured, and what each rank has sent.
struct Costs {
  StepCosts costs;
  std::vector<int64_t> sent;
};

Costs CostsOf(const MethodCase& method) {
  Costs result{.costs = {}, .sent = std::vector<int64_t>(3)};
  ThreadGroup group(3);
  group.Run([&](int rank) {
    const auto device = MakeCpuDevice(1);
    const auto communicator = group.Join(rank, *device);
    ParameterArena arena(*device, OddSpecs(), DataType::kFloat64);
    SetStart(arena);
    OptimizerOptions options = method.options;
    options.server = "central";
    const auto optimizer = MakeOptimizer(options, arena, *communicator);
    for (int64_t step = 0; step < 10; ++step) {
      optimizer->set_measure(step == 9);
      optimizer->BeginStep(kRate);
      SetGradient(arena, rank, step);
      optimizer->Step(kRate, {});
    }
    result.sent[static_cast<size_t>(rank)] =
        communicator->traffic().sent[static_cast<size_t>(Purpose::kUplink)] +
        communicator->traffic().sent[static_cast<size_t>(Purpose::kDownlink)];
    if (rank == 0) result.costs = optimizer->costs();
  });
  return result;
}

TEST_P(BucketedOptimizerTest, CostsAreOfTheWholeVector) {
  const Costs without = CostsOf(WithBuckets(0)), with = CostsOf(WithBuckets(512));
  EXPECT_EQ(with.costs.paper_bits_up, without.costs.paper_bits_up);
  EXPECT_EQ(with.costs.paper_bits_down, without.costs.paper_bits_down);
  EXPECT_EQ(with.costs.coded_bits_up, without.costs.coded_bits_up);
  EXPECT_EQ(with.costs.coded_bits_down, without.costs.coded_bits_down);
  if (GetParam().options.uncompressed_tensors.empty()) {
    EXPECT_EQ(with.sent, without.sent);
  } else {  // a bucket without signs sends no words of none
    for (size_t rank = 0; rank < 3; ++rank) EXPECT_LE(with.sent[rank], without.sent[rank]);
  }
  // Sums of 4831 squares in another order: within 4831 * 2^-53 of themselves, or 1e-12.
  const auto expect_near = [](double a, double b, const char* what) {
    if (std::isnan(a) && std::isnan(b)) return;
    EXPECT_NEAR(a, b, 1e-12 * std::max(1.0, std::abs(b))) << what;
  };
  expect_near(with.costs.contraction_up, without.costs.contraction_up, "up");
  expect_near(with.costs.contraction_down, without.costs.contraction_down, "down");
  expect_near(with.costs.mismatch_bound, without.costs.mismatch_bound, "mismatch");
}

TEST(BucketsTest, AreMadeWhereNoScaleOrChoiceGoesAcross) {
  const std::vector<Range> cut = {{0, 256}, {256, 4480}, {4480, 4864}, {4864, 4992}, {4992, 5248}};
  const std::vector<std::pair<OptimizerOptions, bool>> cases = {
      {{.name = "cd-adam", .scale_granularity = "tensor"}, true},
      {{.name = "cd-adam", .scale_granularity = "block:7"}, true},
      {{.name = "cd-adam", .compressor = "identity"}, true},
      {{.name = "ef21", .compressor = "sign", .scale_granularity = "tensor"}, true},
      {{.name = "signsgd-mv"}, true},
      {{.name = "cd-adam"}, false},
      {{.name = "ef21", .scale_granularity = "tensor"}, false},
      {{.name = "cd-adam", .compressor = "topk", .scale_granularity = "tensor"}, false},
      {{.name = "cd-adam", .compressor = "randk", .scale_granularity = "tensor"}, false}};
  for (const auto& [options, expected] : cases) {
    ThreadGroup group(4);
    group.Run([&, &options = options, &expected = expected](int rank) {
      const auto device = MakeCpuDevice(1);
      const auto communicator = group.Join(rank, *device);
      ParameterArena arena(*device, OddSpecs());
      OptimizerOptions with = options;
      with.bucket_elements = 256;
      const auto optimizer = MakeOptimizer(with, arena, *communicator);
      std::map<std::string, std::vector<Range>> parts, servers;
      for (const OptimizerState& state : optimizer->state()) {
        (state.kind == StateKind::kServer ? servers : parts)[state.name].push_back(state.range);
        EXPECT_EQ(state.values.size, state.range.size());
      }
      const auto whole = std::vector<Range>{{0, arena.padded_size()}};
      for (const auto& [name, ranges] : parts) {
        EXPECT_EQ(ranges, expected ? cut : whole) << options.name << " " << name;
      }
      EXPECT_EQ(optimizer->buckets() == cut, expected) << options.name;
      // Each rank serves a fourth of every bucket.
      for (const auto& [name, ranges] : servers) {
        ASSERT_EQ(ranges.size(), expected ? cut.size() : 1) << options.name << " " << name;
        for (size_t i = 0; expected && i < cut.size(); ++i) {
          EXPECT_GE(ranges[i].begin, cut[i].begin);
          EXPECT_LE(ranges[i].end, cut[i].end);
          EXPECT_NEAR(static_cast<double>(ranges[i].size()), static_cast<double>(cut[i].size()) / 4,
                      ParameterArena::kAlignment);
        }
      }
    });
  }
}

// One rank has nobody to send to.
TEST(BucketsTest, AreNotMadeForOneRank) {
  ThreadGroup group(1);
  group.Run([&](int rank) {
    const auto device = MakeCpuDevice(1);
    const auto communicator = group.Join(rank, *device);
    ParameterArena arena(*device, OddSpecs());
    for (const char* name : {"sgd", "cd-adam"}) {
      const auto optimizer =
          MakeOptimizer({.name = name, .scale_granularity = "tensor", .bucket_elements = 128},
                        arena, *communicator);
      EXPECT_TRUE(optimizer->buckets().empty()) << name;
      EXPECT_FALSE(optimizer->can_start_early()) << name;
    }
  });
}

TEST(BucketsTest, ANonFiniteGradientNamesItsTensor) {
  ThreadGroup group(2);
  group.Run([&](int rank) {
    const auto device = MakeCpuDevice(1);
    const auto communicator = group.Join(rank, *device);
    ParameterArena arena(*device, OddSpecs());
    const auto optimizer =
        MakeOptimizer({.name = "cd-adam", .scale_granularity = "tensor", .bucket_elements = 128},
                      arena, *communicator);
    SetGradient(arena, rank, 0);
    const float bad = std::numeric_limits<float>::quiet_NaN();
    for (const char* tensor : {"last.weight", "fc.weight"}) {
      device->CopyFromHost(&bad, arena.gradient(tensor).Slice(33, 1));
    }
    try {
      optimizer->Step(kRate, {});
      ADD_FAILURE() << "no error";
    } catch (const Error& error) {
      const std::string what = error.what();
      EXPECT_NE(what.find(fmt::format("step 1, rank {}: the gradient of fc.weight is NaN or "
                                      "infinite at element 33",
                                      rank)),
                std::string::npos)
          << what;
    }
  });
}

}  // namespace
}  // namespace thinwire
