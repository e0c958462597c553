// A program for mpirun to start: the checks of the distributed methods with processes as ranks.
//   optim_mpi_program replicas   200 steps of each method; checksums after each, both servers
//   optim_mpi_program long       methods on vectors whose messages are decoded in slices as they
//                                arrive, against threads, where they arrive as a whole
//   optim_mpi_program golden N   the golden rounds, up to N, that have as many workers as ranks
// Ends with 77 where the golden values are not at hand.
#include <cmath>
#include <cstdio>
#include <exception>
#include <set>
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

int CompareLong(Communicator& communicator, Device& device) {
  constexpr int64_t kSteps = 3;
  const std::vector<TensorSpec> specs = {{"weight", TensorRole::kLinearWeight, {3'000'007}, {}},
                                         {"shift", TensorRole::kBatchNormShift, {33}, {}},
                                         {"other", TensorRole::kLinearWeight, {131'071, 3}, {}},
                                         {"bias", TensorRole::kBias, {1}, {}}};
  const std::set<std::string> labels = {
      "cd_adam",      "cd_adam_block",  "cd_adam_mixed", "cd_adam_decay_weights", "onebit_adam",
      "saef_sgdm",    "cd_adam_topk",   "cd_adam_randk", "cd_adam_topk_mixed",    "ef21_bc",
      "ef21_bc_full", "ef21_bc_packed", "saef_sgdm_topk"};
  for (MethodCase method : AllMethodCases()) {
    if (!labels.contains(method.label)) continue;
    method.options.freeze_steps = 1;
    const auto train = [&](Device& device_of_rank, Communicator& ranks) {
      return TrainReplicas(method, "sharded", DataType::kFloat32, kSteps, device_of_rank, ranks,
                           specs);
    };
    const std::vector<double> values = train(device, communicator);
    int64_t wrong = 0;
    if (communicator.rank() == 0) {
      std::vector<double> expected;
      ThreadGroup group(communicator.size());
      group.Run([&](int rank) {
        const auto own_device = MakeCpuDevice(1);
        const auto result = train(*own_device, *group.Join(rank, *own_device));
        if (rank == 0) expected = result;
      });
      wrong = values == expected ? 0 : 1;
      std::printf("%s: %s\n", method.label.c_str(), wrong == 0 ? "same" : "differs");
    }
    if (communicator.AllGatherHost(wrong)[0] != 0) return 1;
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
        const auto findings = CompareRounds(row, server, mini_batches, rounds, DataType::kFloat64,
                                            device, communicator);
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
  if (arguments.size() == 1 && arguments[0] == "long") return CompareLong(*communicator, *device);
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
