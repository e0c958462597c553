// What the distributed methods promise, on ranks that are threads.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>

#include "kernels/error.h"
#include "tests/optim/replicas.h"

namespace thinwire {
namespace {

constexpr double kRate = 0.01;

/// One rank's copy of everything.
struct Rank {
  Rank(ThreadGroup& group, int rank, const OptimizerOptions& options,
       DataType type = DataType::kFloat32)
      : device(MakeCpuDevice(1)),
        communicator(group.Join(rank, *device)),
        arena(*device, OddSpecs(), type) {
    SetStart(arena);
    optimizer = MakeOptimizer(options, arena, *communicator);
  }

  void Step(int64_t step) {
    optimizer->BeginStep(kRate);
    SetGradient(arena, communicator->rank(), step);
    optimizer->Step(kRate, {});
  }
  std::vector<double> Read(ConstView view) const {
    std::vector<double> result(static_cast<size_t>(view.size));
    if (view.type == DataType::kFloat64) {
      device->CopyToHost(view, result.data());
    } else {
      std::vector<float> floats(result.size());
      device->CopyToHost(view, floats.data());
      std::copy(floats.begin(), floats.end(), result.begin());
    }
    return result;
  }
  /// States by name, brought up to date.
  std::map<std::string, OptimizerState> States() {
    std::map<std::string, OptimizerState> states;
    for (const OptimizerState& state : optimizer->state()) states[state.name] = state;
    return states;
  }

  std::unique_ptr<Device> device;
  std::unique_ptr<Communicator> communicator;
  ParameterArena arena;
  std::unique_ptr<Optimizer> optimizer;
};

class ReplicasTest : public ::testing::TestWithParam<MethodCase> {};

INSTANTIATE_TEST_SUITE_P(All, ReplicasTest, ::testing::ValuesIn(AllMethodCases()),
                         [](const auto& info) { return info.param.label; });

// 200 steps with a checksum after each. Float32 for the replicas; float64 to compare the servers,
// whose sums differ by rounding: 1e-16 of each scale, which float64 keeps far below 1e-9 unless a
// choice or a sign falls differently.
TEST_P(ReplicasTest, StayBitIdenticalAndServersAgree) {
  for (const int ranks : {1, 2, 3, 4, 8, 20}) {
    std::map<std::string, std::vector<double>> ends;
    for (const std::string server : {"sharded", "central"}) {
      ThreadGroup group(ranks);
      group.Run([&](int rank) {
        const auto device = MakeCpuDevice(1);
        const auto communicator = group.Join(rank, *device);
        TrainReplicas(GetParam(), server, DataType::kFloat32, 200, *device, *communicator);
        const auto end =
            TrainReplicas(GetParam(), server, DataType::kFloat64, 50, *device, *communicator);
        if (rank == 0) ends[server] = end;
      });
    }
    EXPECT_LT(LargestDifference(ends["sharded"], ends["central"]), 1e-9) << ranks << " ranks";
  }
}

// Measuring costs passes, but changes nothing.
TEST_P(ReplicasTest, MeasuringChangesNothing) {
  std::vector<double> ends[2];
  std::vector<StepCosts> costs(2);
  for (const bool measure : {false, true}) {
    ThreadGroup group(3);
    group.Run([&](int r) {
      Rank rank(group, r, GetParam().options);
      for (int64_t step = 0; step < 12; ++step) {
        rank.optimizer->set_measure(measure && step % 2 == 1);
        rank.Step(step);
      }
      if (r == 0) {
        ends[measure] = Values(rank.arena);
        costs[measure] = rank.optimizer->costs();
      }
    });
  }
  EXPECT_EQ(ends[0], ends[1]);
  EXPECT_EQ(costs[0].paper_bits_up, costs[1].paper_bits_up);
  EXPECT_TRUE(std::isnan(costs[0].contraction_up));
  if (std::isnan(costs[1].contraction_up)) return;  // uncompressed
  EXPECT_GT(costs[1].contraction_up, 0);
  EXPECT_LE(costs[1].contraction_up, 1 + 1e-6);
  EXPECT_LE(costs[1].contraction_down, 1 + 1e-6);
}

// Stopped at an odd place, restored into fresh optimizers, gone on: the same bits.
TEST_P(ReplicasTest, RestoredStateGoesOnBitForBit) {
  for (const int ranks : {1, 3, 4}) {
    ThreadGroup group(ranks);
    group.Run([&](int r) {
      Rank whole(group, r, GetParam().options);
      for (int64_t step = 0; step < 9; ++step) whole.Step(step);

      Rank resumed(group, r, GetParam().options);
      resumed.device->Copy(whole.arena.values(), resumed.arena.values());
      const auto from = whole.optimizer->state();
      const auto to = resumed.optimizer->state();
      ASSERT_EQ(from.size(), to.size());
      for (size_t i = 0; i < from.size(); ++i) {
        ASSERT_EQ(from[i].name, to[i].name);
        resumed.device->Copy(from[i].values, to[i].values);
      }
      resumed.optimizer->set_step(whole.optimizer->step());
      resumed.optimizer->restore_costs(whole.optimizer->costs());
      resumed.optimizer->StateRestored();
      for (int64_t step = 9; step < 20; ++step) {
        whole.Step(step);
        resumed.Step(step);
        ASSERT_EQ(Checksum(whole.arena), Checksum(resumed.arena)) << "step " << step;
      }
      EXPECT_EQ(whole.optimizer->costs().paper_bits_up, resumed.optimizer->costs().paper_bits_up);
    });
  }
}

TEST_P(ReplicasTest, NonFiniteGradientNamesItsTensorBeforeAnythingIsSent) {
  for (const double bad :
       {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()}) {
    ThreadGroup group(2);
    group.Run([&](int r) {
      if (GetParam().options.compressor == "randk") return;  // may not choose that element
      Rank rank(group, r, GetParam().options);
      for (int64_t step = 0; step < 3; ++step) rank.Step(step);
      rank.optimizer->BeginStep(kRate);
      const int64_t sent = rank.communicator->traffic().total_sent();
      SetGradient(rank.arena, r, 3);
      const Segment& segment = rank.arena.segment("fc.weight");
      const float value = static_cast<float>(bad);
      rank.device->CopyFromHost(&value, rank.arena.gradients().Slice(segment.offset + 33, 1));
      try {
        rank.optimizer->Step(kRate, {});
        ADD_FAILURE() << "no error";
      } catch (const Error& error) {
        EXPECT_NE(std::string(error.what()).find("fc.weight"), std::string::npos) << error.what();
        EXPECT_NE(std::string(error.what()).find("element 33"), std::string::npos) << error.what();
      }
      EXPECT_EQ(rank.communicator->traffic().total_sent(), sent);
    });
  }
}

/// Values after `steps` steps on 4 ranks in float64.
std::vector<double> Train(const OptimizerOptions& options, int64_t steps = 30) {
  std::vector<double> end;
  ThreadGroup group(4);
  group.Run([&](int r) {
    Rank rank(group, r, options, DataType::kFloat64);
    for (int64_t step = 0; step < steps; ++step) rank.Step(step);
    if (r == 0) end = Values(rank.arena);
  });
  return end;
}

// With the identity as compressor the methods are their uncompressed selves, up to the rounding of
// sums in another order: 30 steps of some 1e-16 each, on values of order 1.
TEST(IdentityTest, CompressedMethodsBecomeUncompressedOnes) {
  const auto expect_same = [](OptimizerOptions compressed, const OptimizerOptions& plain) {
    compressed.compressor = "identity";
    EXPECT_LT(LargestDifference(Train(compressed), Train(plain)), 1e-12) << compressed.name;
  };
  expect_same({.name = "cd-adam"}, {.name = "amsgrad"});
  expect_same({.name = "naive-amsgrad"}, {.name = "amsgrad"});
  expect_same({.name = "ef-amsgrad"}, {.name = "amsgrad"});
  expect_same({.name = "ef21"}, {.name = "sgd"});
  expect_same({.name = "ef21-bc"}, {.name = "sgd"});
  expect_same({.name = "ef21-bc", .momentum = 0.9}, {.name = "momentum"});
  expect_same({.name = "ef21-sgdm", .eta = 1}, {.name = "sgd"});
  expect_same({.name = "ef14"}, {.name = "sgd"});
  expect_same({.name = "ef-sgdm"}, {.name = "momentum"});
  expect_same({.name = "saef-sgdm"}, {.name = "momentum"});
  expect_same({.name = "onebit-adam", .beta2 = 0.99, .freeze_steps = 1000, .bias_correction = true},
              {.name = "adam", .beta2 = 0.99});
  expect_same({.name = "cd-adam", .weight_decay = 0.1}, {.name = "amsgrad", .weight_decay = 0.1});
  expect_same({.name = "cd-adam", .weight_decay = 0.1, .weight_decay_at = "update"},
              {.name = "amsgrad", .weight_decay = 0.1});
}

// ĝ = mean ĝ_i for Markov methods, at every step.
TEST(ConservationTest, ServerEstimateIsTheMeanOfTheWorkers) {
  for (const OptimizerOptions& options :
       {OptimizerOptions{.name = "cd-adam"}, OptimizerOptions{.name = "ef21-bc"},
        OptimizerOptions{.name = "ef21-sgdm"},
        OptimizerOptions{.name = "cd-adam", .uncompressed_tensors = {"bias"}}}) {
    std::vector<std::vector<double>> workers(4), servers(4);
    std::vector<Range> shards(4);
    ThreadGroup group(4);
    group.Run([&](int r) {
      Rank rank(group, r, options, DataType::kFloat64);
      for (int64_t step = 0; step < 25; ++step) rank.Step(step);
      const auto states = rank.States();
      workers[static_cast<size_t>(r)] = rank.Read(states.at("worker_estimate").values);
      servers[static_cast<size_t>(r)] = rank.Read(states.at("server_estimate").values);
      shards[static_cast<size_t>(r)] = states.at("server_estimate").range;
    });
    for (size_t s = 0; s < 4; ++s) {
      for (int64_t i = shards[s].begin; i < shards[s].end; ++i) {
        double mean = 0;
        for (const auto& worker : workers) mean += worker[static_cast<size_t>(i)] / 4;
        ASSERT_NEAR(servers[s][static_cast<size_t>(i - shards[s].begin)], mean, 1e-13) << i;
      }
    }
  }
}

// Error feedback loses nothing: x_t = x_0 − mean of all inputs + (server's error + mean error).
// With step-ahead off and no momentum the inputs are η times the gradients.
TEST(ConservationTest, SentAndErrorsAddUpToTheInputs) {
  for (const char* compressor : {"sign", "topk", "randk"}) {
    std::vector<std::vector<double>> inputs(3), errors(3), servers(3);
    std::vector<Range> shards(3);
    std::vector<double> start, end;
    ThreadGroup group(3);
    group.Run([&](int r) {
      Rank rank(group, r, {.name = "ef-sgd", .compressor = compressor}, DataType::kFloat64);
      const auto s = static_cast<size_t>(r);
      if (r == 0) start = Values(rank.arena);
      inputs[s].resize(static_cast<size_t>(rank.arena.padded_size()));
      for (int64_t step = 0; step < 25; ++step) {
        rank.optimizer->BeginStep(kRate);
        SetGradient(rank.arena, r, step);
        const auto gradient = rank.Read(rank.arena.gradients());
        for (size_t i = 0; i < gradient.size(); ++i) inputs[s][i] += kRate * gradient[i];
        rank.optimizer->Step(kRate, {});
      }
      const auto states = rank.States();
      errors[s] = rank.Read(states.at("worker_error").values);
      servers[s] = rank.Read(states.at("server_error").values);
      shards[s] = states.at("server_error").range;
      if (r == 0) end = Values(rank.arena);
    });
    for (size_t s = 0; s < 3; ++s) {
      for (int64_t j = shards[s].begin; j < shards[s].end; ++j) {
        const auto i = static_cast<size_t>(j);
        double mean = 0;
        for (size_t w = 0; w < 3; ++w) mean += (inputs[w][i] - errors[w][i]) / 3;
        const double error = servers[s][static_cast<size_t>(j - shards[s].begin)];
        ASSERT_NEAR(end[i], start[i] - (mean - error), 1e-13) << compressor << " " << i;
      }
    }
  }
}

// What is measured is what the definition says: π = K/d at least for Top-K, |v|₁²/(d |v|²) for the
// sign; here for the first message of an error feedback, whose v is known.
TEST(ContractionTest, MatchesTheDefinitions) {
  ThreadGroup group(1);
  group.Run([&](int r) {
    for (const char* compressor : {"sign", "topk"}) {
      Rank rank(group, r, {.name = "ef-sgd", .compressor = compressor, .top_k = 100},
                DataType::kFloat64);
      SetGradient(rank.arena, r, 0);
      std::vector<double> magnitudes;
      const auto gradient = rank.Read(rank.arena.gradients());
      double sum = 0, squares = 0;
      for (const double g : gradient) {
        magnitudes.push_back(g * g);
        sum += std::abs(g);
        squares += g * g;
      }
      std::sort(magnitudes.rbegin(), magnitudes.rend());
      double kept = 0;
      for (size_t i = 0; i < 100; ++i) kept += magnitudes[i];
      const auto d = static_cast<double>(rank.arena.parameter_count());
      const bool sign = std::string(compressor) == "sign";
      const double expected = sign ? sum * sum / (d * squares) : kept / squares;
      rank.optimizer->set_measure(true);
      rank.optimizer->BeginStep(kRate);
      rank.optimizer->Step(kRate, {});
      EXPECT_NEAR(rank.optimizer->costs().contraction_up, expected, 1e-12) << compressor;
    }
  });
}

TEST(CostsTest, PackedIndicesAndNarrowValuesAreCountedAsTheyAre) {
  std::map<std::string, StepCosts> costs;
  for (const std::string coding : {"plain", "packed"}) {
    ThreadGroup group(4);
    group.Run([&](int r) {
      Rank rank(group, r,
                {.name = "ef21-bc",
                 .index_coding = coding,
                 .value_type = coding == "plain" ? "f32" : "bf16"});
      for (int64_t step = 0; step < 3; ++step) rank.Step(step);
      if (r == 0) costs[coding] = rank.optimizer->costs();
    });
  }
  const int64_t k = static_cast<int64_t>(0.016 * 4831);
  EXPECT_EQ(costs["plain"].paper_bits_up, 3 * 64 * k);
  EXPECT_EQ(costs["plain"].paper_bits_up, costs["packed"].paper_bits_up);
  EXPECT_EQ(costs["plain"].coded_bits_up, 3 * (64 * k + 4 * 32));  // a count in each of 4 messages
  EXPECT_LT(costs["packed"].coded_bits_up, costs["plain"].coded_bits_up / 2);
  EXPECT_GT(costs["packed"].coded_bits_up, 3 * 16 * k);
}

}  // namespace
}  // namespace thinwire
