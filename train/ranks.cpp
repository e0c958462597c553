#include "train/ranks.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "comm/failure.h"
#include "kernels/error.h"

namespace thinwire {
namespace {

/// A positive number in the environment, or 0.
int64_t NumberInEnvironment(const char* name) {
  const char* text = std::getenv(name);
  return text == nullptr ? 0 : std::max<int64_t>(std::strtoll(text, nullptr, 10), 0);
}

/// How many ranks share this machine's cores with this one, as far as launchers tell. A launcher
/// that has bound this process to some of the cores has divided them already.
int64_t RanksOfThisMachine() {
  if (std::thread::hardware_concurrency() < sysconf(_SC_NPROCESSORS_ONLN)) return 1;
  for (const char* name :
       {"OMPI_COMM_WORLD_LOCAL_SIZE", "MPI_LOCALNRANKS", "SLURM_NTASKS_PER_NODE"}) {
    if (const int64_t ranks = NumberInEnvironment(name); ranks > 0) return ranks;
  }
  return 1;
}

/// This process's number among those of its machine, as far as launchers tell.
int64_t NumberOnThisMachine() {
  for (const char* name : {"OMPI_COMM_WORLD_LOCAL_RANK", "MPI_LOCALRANKID", "SLURM_LOCALID"}) {
    if (const int64_t number = NumberInEnvironment(name); number > 0) return number;
  }
  return 0;
}

/// Ranks take the GPUs that were given, or all of the machine, in turn.
int GpuOfRank(const Settings& settings, int64_t number) {
  if (settings.gpus.empty()) return static_cast<int>(number % std::max(1, CudaDeviceCount()));
  return static_cast<int>(settings.gpus[static_cast<size_t>(number) % settings.gpus.size()]);
}

/// Who names GPUs does not want the CPU, whatever this machine has.
std::unique_ptr<Device> MakeDeviceOfRank(const Settings& settings, int threads, int64_t number) {
  return MakeDevice(settings.gpus.empty() ? settings.device : "cuda", threads,
                    GpuOfRank(settings, number), MakeGpuOptions(settings));
}

/// Runs the body; what it throws names the rank.
int RunBody(Rank& rank, const std::function<int(Rank&)>& body) {
  try {
    return body(rank);
  } catch (const Error& error) {
    const std::string what = error.what();
    // Wrong usage is every rank's, and failures of collectives name the ranks that they speak of.
    const bool names_rank = what.find("rank ") != std::string::npos;
    if (rank.alone() || error.kind() == Error::Kind::kUsage || names_rank) throw;
    throw Error(fmt::format("rank {} on {}: {}", rank.communicator.rank(), HostName(), what), "");
  }
}

}  // namespace

void CheckGpus(const Settings& settings) {
  if (settings.gpus.empty() && settings.device != "cuda") return;
  const int count = CudaDeviceCount();
  for (const int64_t gpu : settings.gpus.empty() ? std::vector<int64_t>{0} : settings.gpus) {
    if (gpu >= count) MakeCudaDevice(static_cast<int>(gpu));  // throws, and says why
  }
}

int ThreadsOfRank(const Settings& settings, int64_t ranks) {
  if (ranks == 1) return static_cast<int>(settings.threads.value_or(0));
  int64_t threads = settings.threads.value_or(NumberInEnvironment("OMP_NUM_THREADS"));
  if (threads == 0) threads = std::thread::hardware_concurrency();
  return static_cast<int>(std::clamp<int64_t>(threads / ranks, 1, 1024));
}

int64_t WorkersOfProcess(const Settings& settings, bool under_mpi) {
  if (under_mpi) return 1;
  if (settings.workers > 1) return settings.workers;
  return std::max<int64_t>(1, std::ssize(settings.gpus)) * settings.workers_per_gpu;
}

void RefuseWorkers(const Settings& settings, const MpiSession& mpi) {
  if (settings.workers == 1) return;
  throw Error(fmt::format("--workers is {}, but this process is one rank of {} already",
                          settings.workers, mpi.size()),
              "leave --workers out, or start thinwire without mpirun", Error::Kind::kUsage);
}

int RunRanks(const Settings& settings, MpiSession* mpi, const std::function<int(Rank&)>& body) {
  const CommunicatorOptions options{.timeout_seconds = settings.dist_timeout};
  if (mpi != nullptr) {
    // --threads and OMP_NUM_THREADS are a process's; only all cores have to be shared.
    const bool given = settings.threads || NumberInEnvironment("OMP_NUM_THREADS") > 0;
    const auto device = MakeDeviceOfRank(
        settings, ThreadsOfRank(settings, given ? 1 : RanksOfThisMachine()), NumberOnThisMachine());
    const auto communicator = WithNccl(mpi->Join(*device), *device, options);
    Rank rank{*device, *communicator};
    return RunBody(rank, body);
  }
  if (settings.workers == 1) {
    const auto device = MakeDeviceOfRank(settings, ThreadsOfRank(settings, 1), 0);
    const auto communicator = MakeSingleCommunicator(*device);
    Rank rank{*device, *communicator};
    return RunBody(rank, body);
  }
  ThreadGroup group(static_cast<int>(settings.workers), options);
  int status = 0;
  group.Run([&](int number) {
    const auto device = MakeDeviceOfRank(settings, ThreadsOfRank(settings, settings.workers),
                                         settings.gpus.empty() ? 0 : number);
    const auto communicator = WithNccl(group.Join(number, *device), *device, options);
    Rank rank{*device, *communicator};
    const int own = RunBody(rank, body);
    if (number == 0) status = own;
  });
  return status;
}

}  // namespace thinwire
