#include "tests/optim/golden_rounds.h"

#include <fmt/format.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <sstream>

#include "datasets/libsvm.h"
#include "models/logistic_regression.h"
#include "tests/optim/method_cases.h"

namespace thinwire {
namespace {

/// The folder of a data set of that name, plain or packed; "" if there is none.
std::string FolderOf(const std::string& name) {
  std::vector<std::string> folders;
  if (const auto oracle = oracle::Folder()) folders.push_back(*oracle);
  if (const char* data = std::getenv("THINWIRE_TEST_DATA")) {
    folders.push_back(std::string(data) + "/libsvm");
  }
  for (const std::string& folder : folders) {
    for (const char* ending : {"", ".xz"}) {
      if (std::filesystem::exists(folder + "/" + name + ending)) return folder;
    }
  }
  return "";
}

/// Rows of each round that a worker looks at, from "t worker row row …".
std::vector<std::vector<int64_t>> ReadMiniBatches(const std::string& folder, int worker) {
  std::vector<std::vector<int64_t>> batches;
  const std::string path = folder + "/dense100.b8.idx.xz";
  const std::string command = "xz -dc '" + path + "'";
  const std::unique_ptr<FILE, int (*)(FILE*)> pipe(popen(command.c_str(), "r"), pclose);
  std::string text;
  char part[4096];
  for (size_t n; pipe && (n = std::fread(part, 1, sizeof(part), pipe.get())) > 0;) {
    text.append(part, n);
  }
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream fields(line);
    int64_t round, whose, row;
    if (!(fields >> round >> whose) || whose != worker) continue;
    batches.resize(static_cast<size_t>(round) + 1);
    while (fields >> row) batches.back().push_back(row);
  }
  return batches;
}

void Compare(const std::string& where, double value, double expected, double relative,
             std::vector<std::string>& findings) {
  if (std::abs(value - expected) <= relative * std::abs(expected)) return;
  findings.push_back(fmt::format("{} is {:.17g}, expected {:.17g} within {:.1e}", where, value,
                                 expected, relative));
}

}  // namespace

bool HasData(const oracle::Case& golden_case) { return !FolderOf(golden_case.data).empty(); }

std::vector<std::string> CompareRounds(const oracle::GoldenRow& row, const std::string& server,
                                       bool mini_batches, int64_t rounds, DataType type,
                                       Device& device, Communicator& communicator) {
  const oracle::Case golden_case = *oracle::ParseCase(row.arguments);
  const SparseDataset data = LoadLibsvm(FolderOf(golden_case.data), {golden_case.data});
  const auto [begin, end] = RowsOfRank(data.rows, communicator.rank(), communicator.size());
  ParameterArena arena(device, LogisticRegression::TensorSpecs(data.features, data.classes), type);
  LogisticRegression model(arena, data.view(), data.classes, golden_case.lambda);
  OptimizerOptions options = golden_case.options;
  options.server = server;
  const auto optimizer = MakeOptimizer(options, arena, communicator);
  std::vector<std::vector<int64_t>> batches;
  if (mini_batches) batches = ReadMiniBatches(*oracle::Folder(), communicator.rank());

  std::vector<std::string> findings;
  int64_t round = 0;
  for (const oracle::GoldenRound& golden : row.rounds) {
    if (golden.round > rounds) break;
    for (; round < golden.round; ++round) {
      const double rate = golden_case.RateOf(round);
      optimizer->BeginStep(rate);
      if (mini_batches) {
        model.LossAndGradient(batches.at(static_cast<size_t>(round)));
      } else {
        model.LossAndGradient(begin, end);
      }
      optimizer->Step(rate, {});
    }
    // The whole objective at the new point.
    const auto losses = communicator.AllGatherHost(model.LossAndGradient(begin, end));
    communicator.AllReduce(arena.gradients(), 1.0 / communicator.size(), Purpose::kMeasurement);
    const std::vector<double> gradient = ReadDoubles(device, arena.gradients());
    if (communicator.rank() != 0) continue;
    double loss = 0, squares = 0;
    for (const double value : losses) loss += value / communicator.size();
    for (const double value : gradient) squares += value * value;
    const std::string where =
        fmt::format("{} ({}), round {}: ", row.arguments, server, golden.round);
    const double tolerance = oracle::Tolerance(type, golden.sensitivity);
    Compare(where + "the gradient norm", std::sqrt(squares), golden.gradient_norm, tolerance,
            findings);
    if (mini_batches) continue;
    Compare(where + "the loss", loss, golden.loss, tolerance, findings);
    const int64_t bits = optimizer->costs().paper_bits_up;
    if (bits != golden.bits_up) {
      findings.push_back(fmt::format("{}{} bits up, expected {}", where, bits, golden.bits_up));
    }
  }
  return findings;
}

}  // namespace thinwire
