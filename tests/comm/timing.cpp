#include "tests/comm/timing.h"

#include <algorithm>
#include <cstdio>
#include <vector>

namespace thinwire {

void MeasureTimes(Communicator& communicator, Device& device) {
  const int n = communicator.size();
  constexpr int kCalls = 2000;
  for (int i = 0; i < 100; ++i) communicator.AllGatherHost(1.0);
  communicator.Barrier();
  double start = communicator.seconds();
  for (int i = 0; i < kCalls; ++i) communicator.AllGatherHost(1.0);
  const double latency = (communicator.seconds() - start) / kCalls;

  const int64_t part = 11'000'000 / n;
  const Buffer send = device.Allocate(part * n * 4), receive = device.Allocate(part * n * 4);
  const std::vector<int64_t> counts(static_cast<size_t>(n), part);
  double best = 1e9;
  for (int i = 0; i < 10; ++i) {
    communicator.Barrier();
    start = communicator.seconds();
    communicator.AllToAll(send.view(), counts, receive.view(), counts, Purpose::kUplink);
    best = std::min(best, communicator.seconds() - start);
  }
  if (communicator.rank() != 0) return;
  std::printf("%s: all-gather of a number %.1f us; all-to-all of 44 MB %.1f ms, %.2f GB/s a rank\n",
              communicator.description().c_str(), 1e6 * latency, 1e3 * best,
              static_cast<double>(part * 4 * n) / best / 1e9);
}

}  // namespace thinwire
