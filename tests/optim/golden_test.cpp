// Trajectories of an independent float64 implementation on a logistic regression with a nonconvex
// regulariser (20 features, 4 workers). The files lie in the folder THINWIRE_TEST_ORACLE.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <limits>
#include <memory>
#include <sstream>

#include "optim/optimizer.h"
#include "tests/device_test.h"

namespace thinwire {
namespace {

constexpr size_t kFeatures = 20;
constexpr size_t kWorkers = 4;
constexpr int kRounds = 20;

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

/// f(x) = mean over workers of (mean over rows of log(1 + exp(-y a·x))) + 0.1 Σ x²/(1+x²).
std::vector<double> Gradient(const std::vector<Row>& rows, const std::vector<double>& x) {
  std::vector<double> gradient(kFeatures);
  const size_t per_worker = rows.size() / kWorkers;  // divides evenly
  for (size_t worker = 0; worker < kWorkers; ++worker) {
    std::vector<double> sum(kFeatures);
    for (size_t r = worker * per_worker; r < (worker + 1) * per_worker; ++r) {
      double margin = 0;
      for (size_t j = 0; j < kFeatures; ++j) margin += rows[r].features[j] * x[j];
      margin *= rows[r].label;
      const double slope = -rows[r].label / (1 + std::exp(margin));
      for (size_t j = 0; j < kFeatures; ++j) sum[j] += slope * rows[r].features[j];
    }
    for (size_t j = 0; j < kFeatures; ++j) {
      gradient[j] += sum[j] / static_cast<double>(per_worker) / static_cast<double>(kWorkers);
    }
  }
  for (size_t j = 0; j < kFeatures; ++j) {
    const double denominator = 1 + x[j] * x[j];
    gradient[j] += 0.1 * 2 * x[j] / (denominator * denominator);
  }
  return gradient;
}

/// x of each round, from "t,loss,norm,up,down,x_0,…".
std::vector<std::vector<double>> ReadTrajectory(const std::string& path) {
  std::vector<std::vector<double>> rounds;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    std::vector<double> values;
    std::istringstream fields(line);
    for (std::string field; std::getline(fields, field, ',');) values.push_back(std::stod(field));
    if (values.size() == 5 + kFeatures) rounds.emplace_back(values.begin() + 5, values.end());
  }
  return rounds;
}

struct GoldenCase {
  std::string file;
  OptimizerOptions options;
  double learning_rate;
};

void PrintTo(const GoldenCase& golden, std::ostream* out) { *out << golden.file; }

class GoldenTest : public ::testing::TestWithParam<GoldenCase> {};

// That implementation's beta2 is 0.99 in every method.
INSTANTIATE_TEST_SUITE_P(
    All, GoldenTest,
    ::testing::Values(GoldenCase{"sgd", {.name = "sgd"}, 0.3},
                      GoldenCase{"msgd", {.name = "momentum"}, 0.05},
                      GoldenCase{"adam", {.name = "adam", .beta2 = 0.99}, 0.02},
                      GoldenCase{
                          "adamw", {.name = "adamw", .beta2 = 0.99, .weight_decay = 0.1}, 0.02},
                      GoldenCase{"amsgrad", {.name = "amsgrad"}, 0.02},
                      GoldenCase{"rmsprop", {.name = "rmsprop"}, 0.02},
                      GoldenCase{"rmspropw", {.name = "rmspropw", .weight_decay = 0.1}, 0.02},
                      GoldenCase{"signsgd", {.name = "signsgd"}, 0.02}),
    [](const auto& info) { return info.param.file; });

// Tolerance. The gradient is taken in float64 at the float32 x and rounded once, so a round adds
// the rounding of x and at most 16 epsilons of the change (see optimizer_test.cpp). Later rounds
// do not enlarge what earlier ones added: the step sizes are well below the stability limit.
TEST_P(GoldenTest, FollowsIndependentImplementation) {
  const char* folder = std::getenv("THINWIRE_TEST_ORACLE");
  if (folder == nullptr) GTEST_SKIP() << "THINWIRE_TEST_ORACLE names no folder of golden values";
  const std::vector<Row> rows = ReadRows(std::string(folder) + "/tiny20.xz");
  const std::vector<std::vector<double>> golden =
      ReadTrajectory(std::string(folder) + "/tiny/" + GetParam().file + ".csv");
  if (rows.empty()) GTEST_SKIP() << "cannot unpack " << folder << "/tiny20.xz with xz";
  if (golden.empty()) GTEST_SKIP() << "no " << GetParam().file << ".csv in " << folder << "/tiny";
  ASSERT_EQ(rows.size() % kWorkers, 0u);
  ASSERT_EQ(golden.size(), kRounds + 1u);

  const auto device = CpuBackend::Make();
  ParameterArena arena(*device, {{"x", TensorRole::kLinearWeight, {1, kFeatures}, {}}});
  const auto optimizer = MakeOptimizer(GetParam().options, arena);
  std::vector<float> x(kFeatures);
  double largest_value = 0, largest_change = 0;
  for (int round = 0; round < kRounds; ++round) {
    const std::vector<double> gradient = Gradient(rows, {x.begin(), x.end()});
    const std::vector<float> rounded(gradient.begin(), gradient.end());
    device->CopyFromHost(rounded.data(), arena.gradient("x"));
    optimizer->Step(GetParam().learning_rate, {});
    device->CopyToHost(arena.value("x"), x.data());
    for (size_t j = 0; j < kFeatures; ++j) {
      const double next = golden[round + 1][j];
      largest_value = std::max(largest_value, std::abs(next));
      largest_change = std::max(largest_change, std::abs(next - golden[round][j]));
    }
    const double tolerance = (round + 1) * std::numeric_limits<float>::epsilon() *
                             (largest_value / 2 + 16 * largest_change);
    for (size_t j = 0; j < kFeatures; ++j) {
      ASSERT_NEAR(x[j], golden[round + 1][j], tolerance) << "round " << round + 1 << ", x_" << j;
    }
  }
}

}  // namespace
}  // namespace thinwire
