// thinwire bench: how fast kernels, training steps and collectives are on this machine.
#pragma once

#include <string>
#include <vector>

#include "comm/communicator.h"
#include "train/settings.h"

namespace thinwire {

struct BenchOptions {
  std::string subject;   // one of BenchSubjects()
  double seconds = 0.5;  // for each line
  bool quick = false;    // small sizes, few repetitions: to see that it works
};

/// kernels, step, comm.
std::vector<std::string> BenchSubjects();
/// The flags that are no settings, as a part of the command's help.
std::string BenchFlagsHelp();
/// Reads --seconds. @throws Error (usage).
double ParseBenchSeconds(const std::string& text);

/// Measures, and prints a table, and with --json the same as one line.
/// @throws Error (usage) if there is no such subject, or the settings do not suit it.
void RunBench(const BenchOptions& options, const Settings& settings, MpiSession* mpi);

}  // namespace thinwire
