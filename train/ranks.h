// Where the ranks of a run come from: one alone, threads of this process, or processes under MPI.
#pragma once

#include <functional>
#include <optional>
#include <string_view>

#include "comm/communicator.h"
#include "train/settings.h"
#include "train/stop_signal.h"

namespace thinwire {

/// One rank, on the thread that drives it.
struct Rank {
  Device& device;
  Communicator& communicator;

  /// Rank 0 speaks for all: it prints, logs, and writes what is common.
  bool first() const { return communicator.rank() == 0; }
  bool alone() const { return communicator.size() == 1; }
  /// Of ranks that are threads of one process, rank 0 speaks for that.
  bool first_of_process() const {
    return first() || std::string_view(communicator.kind()) != "threads";
  }
};

/// @throws Error (usage) if GPUs are asked for that this process cannot use.
void CheckGpus(const Settings& settings);

/// Runs `body` on every rank of this process: on --workers threads, or, with `mpi`, on the one that
/// this process is. Each has a device of its own with its part of --threads.
/// @return Rank 0's status; under MPI this process's.
/// @throws Error the first failure of all, which names the rank.
int RunRanks(const Settings& settings, MpiSession* mpi, const std::function<int(Rank&)>& body);

/// How many ranks this process has: --workers, or as many as --gpus and --workers-per-gpu make; one
/// if MPI has started it as a rank.
int64_t WorkersOfProcess(const Settings& settings, bool under_mpi);

/// @throws Error (usage) if --workers asks a process for several ranks that is one of MPI's.
void RefuseWorkers(const Settings& settings, const MpiSession& mpi);

/// A StopSignal for a rank's process: of ranks that are threads, rank 0's thread has it.
class StopSignalOfRank {
 public:
  explicit StopSignalOfRank(const Rank& rank) {
    if (rank.first_of_process()) signal_.emplace();
  }

 private:
  std::optional<StopSignal> signal_;
};

/// Threads for each of `ranks` devices on this machine: --threads, else OMP_NUM_THREADS, else the
/// cores that this process may use, divided; at least one. 0, one rank's, lets OpenMP decide.
int ThreadsOfRank(const Settings& settings, int64_t ranks);

}  // namespace thinwire
