// What tests of whole runs share.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "tests/train/program.h"

namespace thinwire {

using Arguments = std::vector<std::string>;

/// A method's name as a part of a test's.
inline std::string TestName(std::string opt) {
  std::replace(opt.begin(), opt.end(), '-', '_');
  return opt;
}

class RunTest : public ::testing::Test {
 protected:
  /// A run of a second: a small network on 256 generated images, 8 steps an epoch.
  Arguments TinyRun(const std::string& output, const Arguments& more = {}) const {
    Arguments arguments = {"train", "--model",        "mlp", "--shapes-count",
                           "256",   "--batch-size",   "32",  "--shapes-test-count",
                           "64",    "--threads",      "1",   "--data-threads",
                           "1",     "--log-interval", "1",   "--output",
                           output};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
  }

  static std::vector<nlohmann::json> Steps(const std::string& run) {
    std::vector<nlohmann::json> steps;
    std::istringstream lines(ReadText(run + "/steps.jsonl"));
    for (std::string line; std::getline(lines, line);) steps.push_back(nlohmann::json::parse(line));
    return steps;
  }

  static std::vector<nlohmann::json> WithoutTimes(std::vector<nlohmann::json> steps) {
    for (auto& step : steps) {
      for (const char* key : {"images_per_second", "data_ms", "forward_ms", "backward_ms", "compress_ms",
                              "wire_ms", "decode_ms", "update_ms"}) {
        EXPECT_EQ(step.erase(key), 1u) << key;
      }
    }
    return steps;
  }

  /// Checks what every failure looks like: one line on standard error that names things.
  static void ExpectFailure(const ProgramResult& result, int status, const Arguments& mentioned) {
    EXPECT_EQ(result.status, status) << result.errors;
    EXPECT_EQ(std::count(result.errors.begin(), result.errors.end(), '\n'), 1) << result.errors;
    EXPECT_EQ(result.errors.rfind("thinwire: ", 0), 0u) << result.errors;
    for (const std::string& word : mentioned) {
      EXPECT_NE(result.errors.find(word), std::string::npos)
          << "\"" << word << "\" is not in: " << result.errors;
    }
  }

  /// Of mpirun's own lines there is nothing to expect.
  static ProgramResult OwnLines(ProgramResult result) {
    std::istringstream lines(result.errors);
    result.errors.clear();
    for (std::string line; std::getline(lines, line);) {
      if (line.rfind("thinwire: ", 0) == 0) result.errors += line + "\n";
    }
    return result;
  }

  TemporaryFolder folder_;
};

}  // namespace thinwire
