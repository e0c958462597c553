#include "tests/optim/oracle.h"

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <sstream>

namespace thinwire::oracle {
namespace {

const std::map<std::string, std::string> kMethods = {
    {"sgd", "sgd"},
    {"msgd", "momentum"},
    {"adam", "adam"},
    {"adamw", "adamw"},
    {"rmsprop", "rmsprop"},
    {"rmspropw", "rmspropw"},
    {"signsgd", "signsgd"},
    {"signsgd_mv", "signsgd-mv"},
    {"amsgrad", "amsgrad"},
    {"cd_adam", "cd-adam"},
    {"naive_amsgrad", "naive-amsgrad"},
    {"ef_amsgrad", "ef-amsgrad"},
    {"topk_amsgrad", "topk-amsgrad"},
    {"ef21", "ef21"},
    {"ef21_bc", "ef21-bc"},
    {"ef21_sgdm", "ef21-sgdm"},
    {"ef21_sgd2m", "ef21-sgd2m"},
    {"ef14_sgd", "ef14"},
    {"ef_sgd", "ef-sgd"},
    {"ef_sgdm", "ef-sgdm"},
    {"saef_sgd", "saef-sgd"},
    {"saef_sgdm", "saef-sgdm"},
    {"onebit_adam", "onebit-adam"},
};

/// "topk:5", "sign/32", "signl2" …; false if there is nothing like it here.
bool SetCompressor(const std::string& text, OptimizerOptions& options) {
  if (text.starts_with("topk:")) {
    options.compressor = "topk";
    options.top_k = std::stoll(text.substr(5));
    return true;
  }
  if (text.starts_with("sign/")) options.scale_granularity = "block:" + text.substr(5);
  if (text == "signl2") options.sign_scale = "l2";
  options.compressor = text == "identity" ? "identity" : "sign";
  return text == "sign" || text == "signl2" || text == "identity" || text.starts_with("sign/");
}

std::vector<std::string> Cells(const std::string& line) {
  std::vector<std::string> cells;
  std::istringstream fields(line);
  std::string cell;
  std::getline(fields, cell, '|');  // before the first bar
  while (std::getline(fields, cell, '|')) {
    const size_t begin = cell.find_first_not_of(' '), end = cell.find_last_not_of(' ');
    cells.push_back(begin == std::string::npos ? "" : cell.substr(begin, end - begin + 1));
  }
  return cells;
}

}  // namespace

std::optional<std::string> Folder() {
  const char* folder = std::getenv("THINWIRE_TEST_ORACLE");
  return folder == nullptr ? std::nullopt : std::optional<std::string>(folder);
}

double Tolerance(DataType type, double sensitivity) {
  if (type == DataType::kFloat64) return std::max(1e-9, 10 * sensitivity);
  constexpr double kRoundoff32 = 0x1p-24, kRoundoff64 = 0x1p-53;
  return 10 * std::max(sensitivity, kRoundoff64) * (kRoundoff32 / kRoundoff64);
}

std::optional<Case> ParseCase(const std::string& arguments) {
  Case result{.arguments = arguments, .options = {}};
  OptimizerOptions& options = result.options;
  options.beta2 = 0.99;  // that implementation's, in every method
  std::istringstream words(arguments);
  for (std::string flag; words >> flag;) {
    if (flag == "--sc") {
      options.single_way = true;
      continue;
    }
    std::string value;
    words >> value;
    if (flag == "--method") {
      const auto found = kMethods.find(value);
      if (found == kMethods.end()) return std::nullopt;
      options.name = found->second;
    } else if (flag == "--comp") {
      if (!SetCompressor(value, options)) return std::nullopt;
    } else if (flag == "--data") {
      result.data = value;
    } else if (flag == "--problem") {
      result.problem = value;
    } else if (flag == "--n") {
      result.workers = std::stoi(value);
    } else if (flag == "--lam") {
      result.lambda = std::stod(value);
    } else if (flag == "--lr") {
      result.learning_rate = std::stod(value);
    } else if (flag == "--wd") {
      options.weight_decay = std::stod(value);
    } else if (flag == "--mu") {
      options.momentum = std::stod(value);
    } else if (flag == "--eta") {
      options.eta = std::stod(value);
    } else if (flag == "--p") {
      options.error_average_period = std::stoll(value);
    } else if (flag == "--Tw") {
      options.freeze_steps = std::stoll(value);
    } else if (flag == "--nu") {
      options.epsilon = std::stod(value);
    } else if (flag == "--init") {
      options.first_message = value;
    } else if (flag == "--bias-correction") {
      options.bias_correction = value == "yes";
    } else if (flag == "--decay") {
      result.decay_round = std::stoll(value);
      result.decay_factor = std::stod(value.substr(value.find(':') + 1));
    } else {
      return std::nullopt;
    }
  }
  if (result.problem == "mlp") return std::nullopt;
  return result;
}

std::map<std::string, TinyCase> ReadTinyIndex(const std::string& folder) {
  std::map<std::string, TinyCase> cases;
  std::ifstream file(folder + "/tiny/INDEX.txt");
  for (std::string line; std::getline(file, line);) {
    std::istringstream fields(line);
    std::string name, arguments, sensitivity;
    std::getline(fields, name, '\t');
    std::getline(fields, arguments, '\t');
    std::getline(fields, sensitivity, '\t');
    const size_t number = sensitivity.find(' ');
    if (!name.ends_with(".csv") || number == std::string::npos) continue;
    cases[name.substr(0, name.size() - 4)] = {arguments, std::stod(sensitivity.substr(number))};
  }
  return cases;
}

std::vector<TinyRound> ReadTinyRounds(const std::string& path) {
  std::vector<TinyRound> rounds;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    std::vector<double> values;
    std::istringstream fields(line);
    for (std::string field; std::getline(fields, field, ',');) values.push_back(std::stod(field));
    if (values.size() < 6) continue;
    rounds.push_back({values[1],
                      values[2],
                      static_cast<int64_t>(values[3]),
                      static_cast<int64_t>(values[4]),
                      {values.begin() + 5, values.end()}});
  }
  return rounds;
}

std::vector<GoldenRow> ReadGoldenRows(const std::string& folder) {
  std::vector<GoldenRow> rows;
  std::ifstream file(folder + "/golden.md");
  for (std::string line; std::getline(file, line);) {
    const auto cells = Cells(line);
    if (line.starts_with("Mini-batch")) break;
    if (cells.size() < 7 || cells[1].find_first_not_of("0123456789") != std::string::npos) continue;
    if (cells[0].starts_with("--")) rows.push_back({cells[0], {}});
    if (rows.empty()) continue;
    rows.back().rounds.push_back({std::stoll(cells[1]), std::stod(cells[2]), std::stod(cells[3]),
                                  std::stoll(cells[4]), std::stod(cells[5])});
  }
  return rows;
}

std::vector<GoldenRow> ReadMiniBatchRows(const std::string& folder) {
  std::vector<GoldenRow> rows;
  std::ifstream file(folder + "/golden.md");
  bool here = false;
  for (std::string line; std::getline(file, line);) {
    here = here || line.starts_with("Mini-batch");
    const auto cells = Cells(line);
    if (!here || cells.size() < 5 || !cells[0].starts_with("--data")) continue;
    rows.push_back({cells[0], {}});
    const int64_t counts[] = {1, 10, 100, 1000};
    for (size_t j = 0; j < 4; ++j) {
      rows.back().rounds.push_back({counts[j], 0, std::stod(cells[j + 1]), 0, 0});
    }
  }
  return rows;
}

}  // namespace thinwire::oracle
