#include "train/bench_command.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstdio>

#include "kernels/error.h"
#include "kernels/text.h"
#include "train/agreement.h"
#include "train/bench.h"
#include "train/resume.h"
#include "train/settings_value.h"

namespace thinwire {
namespace {

constexpr double kMostSeconds = 3600;

[[noreturn]] void Fail(const std::string& problem, const std::string& remedy) {
  throw Error(problem, remedy, Error::Kind::kUsage);
}

void Check(const BenchOptions& options, const Settings& settings, const MpiSession* mpi) {
  const std::vector<std::string> subjects = BenchSubjects();
  if (std::find(subjects.begin(), subjects.end(), options.subject) == subjects.end()) {
    Fail(options.subject.empty()
             ? std::string("thinwire bench needs to know what to measure")
             : fmt::format("thinwire bench cannot measure {}", Quoted(options.subject)),
         options.subject.empty() ? "name kernels, step or comm"
                                 : SuggestName(options.subject, subjects));
  }
  if (options.subject == "kernels" && (settings.workers > 1 || mpi != nullptr)) {
    Fail("bench kernels measures one device", "run it on one rank alone");
  }
  if (options.subject == "step" && (IsRegression(settings) || !settings.batch_size)) {
    Fail("bench step trains on batches of images",
         "choose another model than logreg, and a number as --batch-size");
  }
  Settings checked = settings;
  checked.dataset = Settings{}.dataset;  // no data are read
  checked.train_files = checked.test_files = {};
  ValidateSettings(checked);
}

BenchReport Measure(const BenchOptions& options, const Settings& settings, Rank& rank) {
  CompareRanks(
      rank.communicator,
      fmt::format("bench {}{}\n--seconds {}\n{}", options.subject, options.quick ? " --quick" : "",
                  options.seconds, WriteRecipe(LastingSettings(settings))),
      "start all ranks with the same flags", Error::Kind::kUsage);
  if (options.subject == "kernels") return BenchKernels(rank.device, options);
  if (options.subject == "step") return BenchStep(rank, settings, options);
  return BenchCollectives(rank, options);
}

}  // namespace

std::vector<std::string> BenchSubjects() { return {"kernels", "step", "comm"}; }

std::string BenchFlagsHelp() {
  return "\nBench\n"
         "      --seconds S               how long to repeat what makes a line [0.5]\n"
         "      --quick                   small sizes and few repetitions, to see that it works\n";
}

double ParseBenchSeconds(const std::string& text) {
  double seconds = 0;
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, seconds);
  if (error == std::errc() && stop == end && seconds > 0 && seconds <= kMostSeconds) return seconds;
  Fail(fmt::format("--seconds: {} is not valid", Quoted(text)),
       fmt::format("give a number above 0, at most {}", kMostSeconds));
}

TimingOptions TimingOf(const BenchOptions& options) {
  if (options.quick) return {.seconds = 0, .repetitions = 2};
  return {.seconds = options.seconds, .repetitions = 5};
}

void RunBench(const BenchOptions& options, const Settings& given, MpiSession* mpi) {
  Settings settings = given;
  if (mpi != nullptr) RefuseWorkers(given, *mpi);
  settings.workers = WorkersOfProcess(given, mpi != nullptr);
  Check(options, settings, mpi);
  if (mpi != nullptr) mpi->set_timeout(settings.dist_timeout);
  RunRanks(settings, mpi, [&](Rank& rank) {
    const BenchReport report = Measure(options, settings, rank);
    if (!rank.first()) return 0;
    fmt::print("{}", report.text);
    if (settings.json) fmt::print("{}\n", report.json);
    std::fflush(stdout);
    return 0;
  });
}

}  // namespace thinwire
