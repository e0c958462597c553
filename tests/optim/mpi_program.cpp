// A program for mpirun to start: the checks of the distributed methods with processes as ranks.
//   optim_mpi_program replicas   200 steps of each method; checksums after each, both servers
//   optim_mpi_program golden N   the golden rounds, up to N, that have as many workers as ranks
// Ends with 77 where the golden values are not at hand.
#include <cmath>
#include <cstdio>
#include <exception>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "kernels/error.h"
#include "tests/optim/golden_rounds.h"
#include "tests/optim/replicas.h"

namespace thinwire {
namespace {

constexpr int kSkipped = 77;

int CompareReplicas(Communicator& communicator, Device& device) {
  for (const MethodCase& method : PlainMethodCases()) {
    std::vector<double> ends[2];
    int wrong = 0;
    for (const bool central : {false, true}) {
      const char* server = central ? "central" : "sharded";
      TrainReplicas(method, server, DataType::kFloat32, 200, device, communicator);
      ends[central] = TrainReplicas(method, server, DataType::kFloat64, 30, device, communicator);
    }
    if (!(LargestDifference(ends[0], ends[1]) < 1e-9)) ++wrong;
    if (communicator.rank() == 0) {
      std::printf("%s: %s\n", method.label.c_str(),
                  wrong == 0 ? "replicas agree" : "sharded and central differ");
    }
    if (wrong != 0) return 1;
  }
  return 0;
}

int CompareGolden(int64_t rounds, Communicator& communicator, Device& device) {
  const auto folder = oracle::Folder();
  if (!folder) {
    if (communicator.rank() == 0) std::printf("skipped: no folder THINWIRE_TEST_ORACLE\n");
    return kSkipped;
  }
  int64_t wrong = 0, compared = 0;
  for (const bool mini_batches : {false, true}) {
    for (const auto& row :
         mini_batches ? oracle::ReadMiniBatchRows(*folder) : oracle::ReadGoldenRows(*folder)) {
      const auto golden_case = oracle::ParseCase(row.arguments);
      if (!golden_case || golden_case->workers != communicator.size()) continue;
      if (!HasData(*golden_case)) {
        if (communicator.rank() == 0)
          std::printf("skipped: no data for %s\n", row.arguments.c_str());
        continue;
      }
      for (const char* server : {"sharded", "central"}) {
        const auto findings =
            CompareRounds(row, server, mini_batches, rounds, device, communicator);
        for (const std::string& finding : findings) std::printf("%s\n", finding.c_str());
        wrong += static_cast<int64_t>(findings.size());
        ++compared;
      }
    }
  }
  if (communicator.rank() == 0) {
    std::printf("%d runs compared, %d values wrong\n", static_cast<int>(compared),
                static_cast<int>(wrong));
  }
  const auto all_wrong = communicator.AllGatherHost(wrong);
  for (const int64_t count : all_wrong) wrong += count;
  return wrong == 0 && compared > 0 ? 0 : 1;
}

int Run(MpiSession& session, const std::vector<std::string>& arguments) {
  const auto device = MakeCpuDevice(1);
  const auto communicator = session.Join(*device);
  if (arguments.size() == 2 && arguments[0] == "golden") {
    return CompareGolden(std::stoll(arguments[1]), *communicator, *device);
  }
  return CompareReplicas(*communicator, *device);
}

}  // namespace
}  // namespace thinwire

int main(int argc, char** argv) {
  thinwire::MpiSession session(argc, argv, {.timeout_seconds = 120});
  try {
    return thinwire::Run(session, {argv + 1, argv + argc});
  } catch (const std::exception& error) {
    session.Abort(error.what(), 1);
  }
}
