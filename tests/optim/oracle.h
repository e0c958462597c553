// Golden values of an independent float64 implementation, in the folder THINWIRE_TEST_ORACLE.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "optim/optimizer.h"

namespace thinwire::oracle {

/// How far rounding may take a run from the golden values, relative: ten times what rounding was
/// measured to do in float64 (one roundoff at least), in units of the run's own type; in float64
/// never below 1e-9. A tolerance above 1 would let anything pass.
double Tolerance(DataType type, double sensitivity);

/// One of its runs, as its arguments describe it.
struct Case {
  std::string arguments;
  OptimizerOptions options;
  double learning_rate = 0;
  std::string data = "tiny20";
  std::string problem = "logreg";
  double lambda = 0.1;
  int workers = 4;
  int64_t decay_round = -1;  // from which on the rate is times decay_factor
  double decay_factor = 1;

  double RateOf(int64_t round) const {
    return decay_round >= 0 && round >= decay_round ? learning_rate * decay_factor : learning_rate;
  }
};

/// The folder, or nothing where the environment names none.
std::optional<std::string> Folder();

/// From "--method cd_adam --lr 0.02 --comp topk:3". Nothing if thinwire has no such method, or if
/// the run needs that implementation's own random numbers.
std::optional<Case> ParseCase(const std::string& arguments);

/// tiny/INDEX.txt: "cd_adam_sign" -> its arguments and how far float64 rounding moves x.
struct TinyCase {
  std::string arguments;
  double sensitivity = 0;
};
std::map<std::string, TinyCase> ReadTinyIndex(const std::string& folder);

/// A round of a tiny case.
struct TinyRound {
  double loss = 0, gradient_norm = 0;
  int64_t bits_up = 0, bits_down = 0;
  std::vector<double> x;
};
std::vector<TinyRound> ReadTinyRounds(const std::string& path);

/// golden.md: a case and what it shows after some rounds.
struct GoldenRound {
  int64_t round = 0;
  double loss = 0, gradient_norm = 0;
  int64_t bits_up = 0;
  double sensitivity = 0;  // relative, of the norm, to float64 rounding
};
struct GoldenRow {
  std::string arguments;
  std::vector<GoldenRound> rounds;
};
std::vector<GoldenRow> ReadGoldenRows(const std::string& folder);

/// The mini-batch cases of golden.md: arguments, and the norm after 1, 10, 100 and 1000 rounds.
std::vector<GoldenRow> ReadMiniBatchRows(const std::string& folder);

}  // namespace thinwire::oracle
