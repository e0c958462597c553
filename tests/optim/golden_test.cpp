// Trajectories of an independent float64 implementation on a logistic regression with a nonconvex
// regulariser (20 features, 4 workers), every method in float64 on ranks that are threads.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>
#include <memory>
#include <sstream>

#include "comm/communicator.h"
#include "optim/optimizer.h"
#include "tests/device_test.h"
#include "tests/optim/oracle.h"

namespace thinwire {
namespace {

constexpr size_t kFeatures = 20;
constexpr int kWorkers = 4;

struct Row {
  double label = 0;  // -1 or +1
  std::vector<double> features = std::vector<double>(kFeatures);
};

/// LIBSVM text through `xz`; empty if that does not work.
std::vector<Row> ReadRows(const std::string& path) {
  std::vector<Row> rows;
  const std::string command = "xz -dc '" + path + "'";
  const std::unique_ptr<FILE, int (*)(FILE*)> pipe(popen(command.c_str(), "r"), pclose);
  if (!pipe) return rows;
  std::string text;
  char part[4096];
  for (size_t n; (n = std::fread(part, 1, sizeof(part), pipe.get())) > 0;) text.append(part, n);
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream fields(line);
    Row row;
    fields >> row.label;
    size_t index;
    char colon;
    double value;
    while (fields >> index >> colon >> value) row.features.at(index - 1) = value;
    rows.push_back(row);
  }
  return rows;
}

/// Gradient of f_i(x) = mean over the worker's rows of log(1 + exp(-y a·x)) + 0.1 Σ x²/(1+x²).
std::vector<double> Gradient(const std::vector<Row>& rows, int worker,
                             const std::vector<double>& x) {
  const size_t per_worker = rows.size() / kWorkers;  // divides evenly
  std::vector<double> gradient(kFeatures);
  const size_t first = static_cast<size_t>(worker) * per_worker;
  for (size_t r = first; r < first + per_worker; ++r) {
    double margin = 0;
    for (size_t j = 0; j < kFeatures; ++j) margin += rows[r].features[j] * x[j];
    margin *= rows[r].label;
    const double slope = -rows[r].label / (1 + std::exp(margin));
    for (size_t j = 0; j < kFeatures; ++j) gradient[j] += slope * rows[r].features[j];
  }
  for (size_t j = 0; j < kFeatures; ++j) {
    const double denominator = 1 + x[j] * x[j];
    gradient[j] = gradient[j] / static_cast<double>(per_worker) +
                  0.1 * 2 * x[j] / (denominator * denominator);
  }
  return gradient;
}

class GoldenTest : public ::testing::TestWithParam<std::tuple<const char*, const char*>> {};

// In the order of the folder's index; cd_adam_sign0 (a sign that can be zero), cd_adam_rand3 (that
// implementation's random numbers) and methods that thinwire does not have are left out.
INSTANTIATE_TEST_SUITE_P(
    All, GoldenTest,
    ::testing::Combine(::testing::Values("sgd", "msgd", "adam", "adamw", "rmsprop", "rmspropw",
                                         "signsgd", "signsgd_mv", "amsgrad", "cd_adam_sign",
                                         "cd_adam_top3", "cd_adam_sign_b8", "naive_amsgrad_sign",
                                         "ef_amsgrad_sign", "ef_amsgrad_sign_sc",
                                         "topk_amsgrad_top3", "topk_amsgrad_top3_nu0", "ef21_top3",
                                         "ef21_bc_top3", "ef21_full_top3", "ef21_sgdm_top3",
                                         "ef21_sgd2m_top3", "ef14_top3", "ef_sgdm_dc_sign",
                                         "ef_sgdm_sc_sign", "ef_sgd_dc_sign", "saef_sgdm_dc_sign",
                                         "saef_sgdm_sc_sign", "saef_sgdm_dc_sign_p4",
                                         "saef_sgdm_dc_top3", "saef_sgdm_dc_sign_decay",
                                         "saef_sgd_dc_sign", "onebit_adam_Tw8",
                                         "onebit_adam_Tw8_l2", "onebit_adam_Tw8_bc"),
                       ::testing::Values("sharded", "central")),
    [](const auto& info) {
      return std::string(std::get<0>(info.param)) + "_" + std::get<1>(info.param);
    });

// The tolerance is ten times what rounding was measured to move x, relative to its largest element,
// and never below 1e-9.
TEST_P(GoldenTest, FollowsIndependentImplementation) {
  const auto& [name, server] = GetParam();
  if (MakeTestDevice() == nullptr) GTEST_SKIP() << kNoGpu;
  const auto folder = oracle::Folder();
  if (!folder) GTEST_SKIP() << "THINWIRE_TEST_ORACLE names no folder of golden values";
  const std::vector<Row> rows = ReadRows(*folder + "/tiny20.xz");
  const auto golden = oracle::ReadTinyRounds(*folder + "/tiny/" + name + ".csv");
  const auto index = oracle::ReadTinyIndex(*folder);
  if (rows.empty()) GTEST_SKIP() << "cannot unpack " << *folder << "/tiny20.xz with xz";
  ASSERT_EQ(index.count(name), 1u);
  const auto golden_case = oracle::ParseCase(index.at(name).arguments);
  ASSERT_TRUE(golden_case) << index.at(name).arguments;
  ASSERT_EQ(rows.size() % kWorkers, 0u);
  ASSERT_EQ(golden.size(), 21u);
  OptimizerOptions options = golden_case->options;
  options.server = server;

  std::vector<std::vector<double>> x(golden.size());
  std::vector<StepCosts> costs(golden.size());
  ThreadGroup group(kWorkers);
  group.Run([&](int rank) {
    const auto device = MakeTestDevice();
    const auto communicator = group.Join(rank, *device);
    ParameterArena arena(*device, {{"x", TensorRole::kLinearWeight, {1, kFeatures}, {}}},
                         DataType::kFloat64);
    const auto optimizer = MakeOptimizer(options, arena, *communicator);
    std::vector<double> mine(kFeatures);
    for (size_t round = 0; round + 1 < golden.size(); ++round) {
      const double rate = golden_case->RateOf(static_cast<int64_t>(round));
      optimizer->BeginStep(rate);
      device->CopyToHost(arena.value("x"), mine.data());
      const std::vector<double> gradient = Gradient(rows, rank, mine);
      device->CopyFromHost(gradient.data(), arena.gradient("x"));
      optimizer->Step(rate, {});
      device->CopyToHost(arena.value("x"), mine.data());
      if (rank == 0) {
        x[round + 1] = mine;
        costs[round + 1] = optimizer->costs();
      }
    }
  });

  const double tolerance = std::max(1e-9, 10 * index.at(name).sensitivity);
  for (size_t round = 1; round < golden.size(); ++round) {
    double largest = 0;
    for (const double value : golden[round].x) largest = std::max(largest, std::abs(value));
    for (size_t j = 0; j < kFeatures; ++j) {
      ASSERT_NEAR(x[round][j], golden[round].x[j], tolerance * largest)
          << "round " << round << ", x_" << j;
    }
    EXPECT_EQ(costs[round].paper_bits_up, golden[round].bits_up) << "round " << round;
    EXPECT_EQ(costs[round].paper_bits_down, golden[round].bits_down) << "round " << round;
  }
}

}  // namespace
}  // namespace thinwire
