#include "tests/optim/tiny_rounds.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <memory>
#include <sstream>

#include "comm/communicator.h"
#include "tests/device_test.h"
#include "tests/optim/method_cases.h"

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

}  // namespace

TinyRun RunTiny(const oracle::Case& golden_case, const std::string& server, DataType type,
                const std::string& folder) {
  const std::vector<Row> rows = ReadRows(folder + "/tiny20.xz");
  TinyRun run;
  if (rows.empty() || rows.size() % kWorkers != 0) return run;
  OptimizerOptions options = golden_case.options;
  options.server = server;
  run.x.resize(kTinyRounds + 1);
  run.costs.resize(kTinyRounds + 1);
  ThreadGroup group(kWorkers);
  group.Run([&](int rank) {
    const auto device = MakeTestDevice();
    const auto communicator = group.Join(rank, *device);
    ParameterArena arena(*device, {{"x", TensorRole::kLinearWeight, {1, kFeatures}, {}}}, type);
    const auto optimizer = MakeOptimizer(options, arena, *communicator);
    for (size_t round = 0; round < kTinyRounds; ++round) {
      const double rate = golden_case.RateOf(static_cast<int64_t>(round));
      optimizer->BeginStep(rate);
      const std::vector<double> gradient =
          Gradient(rows, rank, ReadDoubles(*device, arena.value("x")));
      if (type == DataType::kFloat64) {
        device->CopyFromHost(gradient.data(), arena.gradient("x"));
      } else {
        const std::vector<float> floats(gradient.begin(), gradient.end());
        device->CopyFromHost(floats.data(), arena.gradient("x"));
      }
      optimizer->Step(rate, {});
      const std::vector<double> mine = ReadDoubles(*device, arena.value("x"));
      if (rank != 0) continue;
      run.x[round + 1] = mine;
      run.costs[round + 1] = optimizer->costs();
    }
  });
  return run;
}

std::vector<std::string> CompareTiny(const TinyRun& run,
                                     const std::vector<oracle::TinyRound>& golden,
                                     double tolerance) {
  std::vector<std::string> findings;
  for (size_t round = 1; round < golden.size() && findings.empty(); ++round) {
    double largest = 0;
    for (const double value : golden[round].x) largest = std::max(largest, std::abs(value));
    for (size_t j = 0; j < kFeatures; ++j) {
      const double expected = golden[round].x[j], value = run.x[round][j];
      if (std::abs(value - expected) <= tolerance * largest) continue;
      findings.push_back(
          fmt::format("round {}: x_{} is {:.17g}, expected {:.17g} within {:.1e} of "
                      "{:.3g}",
                      round, j, value, expected, tolerance, largest));
    }
    const StepCosts& costs = run.costs[round];
    if (costs.paper_bits_up != golden[round].bits_up ||
        costs.paper_bits_down != golden[round].bits_down) {
      findings.push_back(fmt::format("round {}: {} bits up and {} down, expected {} and {}", round,
                                     costs.paper_bits_up, costs.paper_bits_down,
                                     golden[round].bits_up, golden[round].bits_down));
    }
  }
  return findings;
}

}  // namespace thinwire
