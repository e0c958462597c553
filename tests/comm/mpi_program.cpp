// A program for mpirun to start: runs the checks, or fails in the way that it is told to.
//   mpi_program check          every check of every collective; prints what is wrong
//   mpi_program loop SECONDS   collectives until it is ended; SECONDS is the timeout
//   mpi_program handler SECONDS   the same, with a handler of SIGTERM that only notes it
//   mpi_program compute SECONDS   the same, with long pauses in which only Progress is called
//   mpi_program throw RANK     rank RANK (or all, if -1) fails after some steps
//   mpi_program sizes          rank 1 sends more than the others expect
//   mpi_program calls          rank 1 calls another collective
//   mpi_program leave          rank 1 returns from main early
//   mpi_program slow           rank 1 works for longer than the timeout, but says so
//   mpi_program time           latency and bandwidth
//   mpi_program time RANKS     the same of threads, without MPI
#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "comm/communicator.h"
#include "kernels/error.h"
#include "tests/comm/checks.h"
#include "tests/comm/timing.h"

namespace thinwire {
namespace {

volatile std::sig_atomic_t received_signal = 0;

int RunChecks(Communicator& communicator, Device& device) {
  int wrong = 0;
  for (const CollectiveCheck& check : CollectiveChecks()) {
    Findings findings;
    check.run(communicator, device, findings);
    for (const auto& finding : findings) {
      std::printf("rank %d: %s\n", communicator.rank(), finding.c_str());
    }
    wrong += static_cast<int>(findings.size());
  }
  // The buffers of tests expect that nothing was written past their ends.
  const bool overrun = ::testing::UnitTest::GetInstance()->ad_hoc_test_result().Failed();
  return wrong == 0 && !overrun ? 0 : 1;
}

/// For the one who started it: which process is which rank.
void SayProcess(Communicator& communicator) {
  const auto processes = communicator.AllGatherHost(int64_t{getpid()});
  if (communicator.rank() != 0) return;
  for (size_t r = 0; r < processes.size(); ++r) {
    std::printf("process %d\n", static_cast<int>(processes[r]));
  }
  std::printf("ready\n");
  std::fflush(stdout);
}

void Loop(Communicator& communicator, Device& device, double pause) {
  Buffer buffer = device.Allocate(1 << 20);
  for (int64_t step = 1;; ++step) {
    communicator.SetStep(step);
    communicator.AllReduce(buffer.view(), 0.5, Purpose::kUplink);
    communicator.Broadcast(buffer.view(), 0, Purpose::kDownlink);
    for (double waited = 0; waited < pause; waited += 0.01) {
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
      communicator.Progress();
    }
    communicator.Barrier();
  }
}

void Fail(Communicator& communicator, int failing_rank) {
  for (int64_t step = 1;; ++step) {
    communicator.SetStep(step);
    if (step == 20 && (communicator.rank() == failing_rank || failing_rank < 0)) {
      throw Error("cannot read this test's data", "", Error::Kind::kUsage);
    }
    communicator.Barrier();
  }
}

int Run(MpiSession& session, const std::vector<std::string>& arguments) {
  const auto device = MakeCpuDevice(1);
  const auto communicator = session.Join(*device);
  const std::string& what = arguments.at(0);
  if (what == "check") return RunChecks(*communicator, *device);
  if (what == "time") {
    MeasureTimes(*communicator, *device);
    return 0;
  }
  SayProcess(*communicator);
  if (what == "handler") {
    std::signal(SIGTERM, [](int signal) { received_signal = signal; });
    session.set_stop_signal([] { return static_cast<int>(received_signal); });
  }
  if (what == "loop" || what == "handler" || what == "compute") {
    session.set_timeout(std::stod(arguments.at(1)));
    Loop(*communicator, *device, what == "compute" ? 1e9 : 0);
  }
  if (what == "throw") Fail(*communicator, std::stoi(arguments.at(1)));
  session.set_timeout(2);
  if (what == "slow") {
    // Three timeouts long, but rank 1 says now and then that it is getting on.
    for (int i = 0; i < 600 && communicator->rank() == 1; ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
      communicator->Progress();
    }
    communicator->Barrier();
    return 0;
  }
  if (what == "leave" && communicator->rank() == 1) std::exit(0);
  if (what == "calls" && communicator->rank() == 1) {
    communicator->AllGatherHost(1.0);
  } else if (what == "sizes") {
    const int64_t n = communicator->size();
    Buffer memory = device->Allocate(1000 * n);
    const int64_t sent = communicator->rank() == 1 ? 1000 : 900;
    const View part = memory.view(DataType::kUint8);
    communicator->AllToAll(part, std::vector<int64_t>(static_cast<size_t>(n), sent), part,
                           std::vector<int64_t>(static_cast<size_t>(n), sent), Purpose::kUplink);
  }
  communicator->Barrier();
  return 0;
}

}  // namespace
}  // namespace thinwire

int main(int argc, char** argv) {
  if (argc == 3 && std::string(argv[1]) == "time") {
    thinwire::ThreadGroup group(std::atoi(argv[2]));
    group.Run([&](int rank) {
      const auto device = thinwire::MakeCpuDevice(1);
      thinwire::MeasureTimes(*group.Join(rank, *device), *device);
    });
    return 0;
  }
  thinwire::MpiSession session(argc, argv, {.timeout_seconds = 60});
  try {
    return thinwire::Run(session, std::vector<std::string>(argv + 1, argv + argc));
  } catch (const thinwire::Error& error) {
    session.Abort(error.what(), error.exit_code());
  }
}
