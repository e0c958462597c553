// What becomes of the ranks' state when their number changes, as equalities.
#include "train/optimizer_state.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "kernels/random.h"
#include "tests/train/run_fixture.h"
#include "train/arena_vectors.h"
#include "train/saved_run.h"

namespace thinwire {
namespace {

/// Sizes that nothing divides, so that shards begin within tensors.
const std::vector<TensorSpec> kTensors = {
    {"conv.weight", TensorRole::kConvolutionFilter, {7, 3, 3, 5}, {}},
    {"fc.weight", TensorRole::kLinearWeight, {11, 37}, {}},
    {"fc.bias", TensorRole::kBias, {11}, {}}};

/// A state vector of all ranks: by rank, laid out as the arena.
using Vectors = std::map<std::string, std::vector<std::vector<double>>>;

struct Snapshot {
  Vectors common, worker, server;  // a server's are zero where they are another's
  std::map<std::string, OptimizerState> states;
  std::vector<std::string> lines;
};

std::vector<double> ToHost(Device& device, View view) {
  std::vector<double> values(static_cast<size_t>(view.size));
  if (view.type == DataType::kFloat64) {
    device.CopyToHost(view, values.data());
    return values;
  }
  std::vector<float> narrow(values.size());
  device.CopyToHost(view, narrow.data());
  std::copy(narrow.begin(), narrow.end(), values.begin());
  return values;
}

class OptimizerStateTest : public ::testing::TestWithParam<std::string> {
 protected:
  OptimizerOptions Options() const {
    OptimizerOptions options;
    options.name = GetParam();
    options.freeze_steps = 2;
    options.error_average_period = 3;
    return options;
  }

  /// Restores, if there is something, takes `steps` steps, saves as `step`, and tells the state.
  Snapshot Run(const OptimizerOptions& options, DataType type, int ranks, int64_t steps,
               int64_t step, const std::string& saved) {
    ThreadGroup group(ranks);
    Snapshot snapshot;
    snapshot.lines.resize(static_cast<size_t>(ranks));
    std::mutex mutex;
    CheckpointFolder folder(folder_.path(), 9);
    group.Run([&](int rank) {
      const auto device = MakeCpuDevice(1);
      const auto communicator = group.Join(rank, *device);
      ParameterArena arena(*device, kTensors, type);
      const auto optimizer = MakeOptimizer(options, arena, *communicator);
      std::string line;
      if (!saved.empty()) {
        const SavedRun run(saved);
        LoadVectors(run.common(), "parameter/", arena.segments(), *device, arena.values());
        line = RestoreOptimizer(run, arena, *communicator, *optimizer);
      }
      RandomStream random(5, static_cast<uint64_t>(rank));
      for (int64_t i = 0; i < steps; ++i) {
        optimizer->BeginStep(0.1);
        FillGradients(arena, random);
        optimizer->Step(0.1, {});
      }
      Checkpoint common, own;
      common.integers["step"] = step;
      StoreOptimizer(*optimizer, arena, *communicator, common, own);
      StoreVectors("parameter/", arena.segments(), *device, arena.values(), common);
      SaveRun(folder, *communicator, step, common, own, false);
      const std::lock_guard lock(mutex);
      snapshot.lines[static_cast<size_t>(rank)] = line;
      for (const OptimizerState& state : optimizer->state()) {
        Vectors& vectors = state.kind == StateKind::kCommon   ? snapshot.common
                           : state.kind == StateKind::kWorker ? snapshot.worker
                                                              : snapshot.server;
        auto& of_ranks = vectors[state.name];
        of_ranks.resize(static_cast<size_t>(ranks));
        std::vector<double>& whole = of_ranks[static_cast<size_t>(rank)];
        whole.resize(static_cast<size_t>(arena.padded_size()));
        std::ranges::copy(ToHost(*device, state.values), whole.begin() + state.range.begin);
        snapshot.states[state.name] = state;
      }
    });
    return snapshot;
  }

  static void FillGradients(ParameterArena& arena, RandomStream& random) {
    for (const Segment& segment : arena.segments()) {
      for (int64_t i = segment.offset; i < segment.offset + segment.size; ++i) {
        const double value = static_cast<double>(random.Below(2001)) / 1000 - 1;
        if (arena.type() == DataType::kFloat64) {
          arena.gradients().as<double>()[i] = value;
        } else {
          arena.gradients().as<float>()[i] = static_cast<float>(value);
        }
      }
    }
  }

  static std::vector<double> Joined(const std::vector<std::vector<double>>& shards) {
    std::vector<double> whole(shards[0].size());
    for (const auto& shard : shards) {
      for (size_t i = 0; i < whole.size(); ++i) whole[i] += shard[i];
    }
    return whole;
  }

  static void ExpectCarriedOver(const Snapshot& before, const Snapshot& after, DataType type) {
    EXPECT_EQ(before.states.size(), after.states.size());
    for (const auto& [name, vectors] : after.common) {
      for (const auto& vector : vectors) EXPECT_EQ(vector, before.common.at(name)[0]) << name;
    }
    for (const auto& [name, shards] : after.server) {
      EXPECT_EQ(Joined(shards), Joined(before.server.at(name))) << name;
    }
    for (const auto& [name, vectors] : after.worker) {
      const OptimizerState& state = after.states.at(name);
      std::vector<double> expected(vectors[0].size());
      if (state.carry_over == CarryOver::kFromServer) {
        expected = before.server.contains(state.source) ? Joined(before.server.at(state.source))
                                                        : before.common.at(state.source)[0];
      } else {
        ASSERT_EQ(state.carry_over, CarryOver::kMean) << name;
        const auto& saved = before.worker.at(name);
        for (size_t i = 0; i < expected.size(); ++i) {
          for (const auto& vector : saved) expected[i] += vector[i];
          expected[i] /= static_cast<double>(saved.size());
          if (type == DataType::kFloat32) expected[i] = static_cast<float>(expected[i]);
        }
      }
      for (const auto& vector : vectors) EXPECT_EQ(vector, expected) << name;
    }
  }

  TemporaryFolder folder_;
};

TEST_P(OptimizerStateTest, KeepsItsInvariantsOnOtherNumbersOfRanks) {
  for (const DataType type : {DataType::kFloat32, DataType::kFloat64}) {
    for (const int first : {4, 3, 1}) {
      const Snapshot before = Run(Options(), type, first, 5, 5, "");
      for (const int then : {3, 4, 1}) {
        SCOPED_TRACE(std::to_string(first) + " -> " + std::to_string(then));
        const Snapshot after = Run(Options(), type, then, 0, 6, folder_ / "step-00000005.ckpt");
        const std::string& line = after.lines[0];
        if (first == then) {
          EXPECT_EQ(line, "");
          EXPECT_EQ(before.worker, after.worker);
          EXPECT_EQ(before.server, after.server);
          EXPECT_EQ(before.common, after.common);
          continue;
        }
        EXPECT_EQ(
            line.rfind(std::to_string(first) + " -> " + std::to_string(then) + " workers: ", 0), 0u)
            << line;
        ExpectCarriedOver(before, after, type);
      }
    }
  }
}

TEST_P(OptimizerStateTest, AnotherServerCutsAnew) {
  OptimizerOptions central = Options();
  central.server = "central";
  const Snapshot before = Run(Options(), DataType::kFloat32, 3, 5, 5, "");
  const Snapshot after = Run(central, DataType::kFloat32, 3, 0, 6, folder_ / "step-00000005.ckpt");
  EXPECT_EQ(before.worker, after.worker);
  for (const auto& [name, shards] : after.server) {
    EXPECT_EQ(Joined(shards), Joined(before.server.at(name))) << name;
  }
  EXPECT_EQ(after.lines[0].rfind("other servers: ", 0) == 0, !after.server.empty());
}

/// The smallest buckets there are: one a tensor, where a scale is of one.
OptimizerOptions InBuckets(OptimizerOptions options, int64_t elements = 128) {
  options.compressor = "sign";
  options.scale_granularity = "tensor";
  options.bucket_elements = elements;
  return options;
}

// Tensors keep their names, whatever they are sent with.
TEST_P(OptimizerStateTest, OtherBucketsHoldTheSame) {
  for (const std::string server : {"sharded", "central"}) {
    for (const auto& [first, then] :
         std::vector<std::pair<int64_t, int64_t>>{{128, 128}, {128, 512}, {128, 0}, {0, 128}}) {
      SCOPED_TRACE(server + ", " + std::to_string(first) + " -> " + std::to_string(then));
      OptimizerOptions saved = InBuckets(Options(), first), restored = InBuckets(Options(), then);
      saved.server = restored.server = server;
      const Snapshot before = Run(saved, DataType::kFloat32, 3, 5, 5, "");
      const Snapshot after =
          Run(restored, DataType::kFloat32, 3, 0, 6, folder_ / "step-00000005.ckpt");
      EXPECT_EQ(before.common, after.common);
      EXPECT_EQ(before.worker, after.worker);
      for (const auto& [name, shards] : after.server) {
        EXPECT_EQ(Joined(shards), Joined(before.server.at(name))) << name;
      }
      if (first == then) {
        EXPECT_EQ(after.lines[0], "");
        EXPECT_EQ(before.server, after.server);
      }
      // It is told once for all parts.
      EXPECT_EQ(after.lines[0].find(" is cut anew"), after.lines[0].rfind(" is cut anew"));
    }
  }
}

TEST_P(OptimizerStateTest, BucketsKeepTheInvariantsOnOtherNumbersOfRanks) {
  for (const auto& [first, then] :
       std::vector<std::pair<int, int>>{{4, 3}, {3, 4}, {4, 1}, {1, 4}}) {
    SCOPED_TRACE(std::to_string(first) + " -> " + std::to_string(then));
    const Snapshot before = Run(InBuckets(Options()), DataType::kFloat32, first, 5, 5, "");
    const Snapshot after = Run(InBuckets(Options(), 512), DataType::kFloat32, then, 0, 6,
                               folder_ / "step-00000005.ckpt");
    ExpectCarriedOver(before, after, DataType::kFloat32);
  }
}

INSTANTIATE_TEST_SUITE_P(Methods, OptimizerStateTest, ::testing::ValuesIn(OptimizerNames()),
                         [](const auto& info) { return TestName(info.param); });

}  // namespace
}  // namespace thinwire
