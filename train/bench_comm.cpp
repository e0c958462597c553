// thinwire bench comm.
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "comm/failure.h"
#include "kernels/error.h"
#include "train/bench.h"

namespace thinwire {
namespace {

constexpr int64_t kLargest = int64_t{64} << 20, kSmallest = int64_t{4} << 10;  // bytes
constexpr int64_t kLargestQuick = int64_t{32} << 10;
constexpr int64_t kStride = 8;

struct Measured {
  const char* name;
  int64_t bytes;  // of the vector
  int64_t sent;   // by a rank, as its communicator counts
  double seconds = 0;

  double rate() const { return static_cast<double>(sent) / seconds; }
};

/// A vector in near-equal parts, one a rank.
std::vector<int64_t> Parts(int64_t elements, int ranks) {
  std::vector<int64_t> parts(static_cast<size_t>(ranks), elements / ranks);
  parts.back() += elements % ranks;
  return parts;
}

class CollectiveBench {
 public:
  CollectiveBench(Rank& rank, const BenchOptions& options)
      : device_(rank.device),
        communicator_(rank.communicator),
        timing_(TimingOf(options)),
        largest_(options.quick ? kLargestQuick : kLargest),
        // In an all-to-all a rank may receive a few elements more than it sends.
        vector_(device_.Allocate(largest_)),
        other_(device_.Allocate(largest_ + 4 * communicator_.size() * communicator_.size())) {}

  BenchReport Run() {
    for (int64_t bytes = kSmallest; bytes <= largest_; bytes *= kStride) MeasureSize(bytes);
    return Report();
  }

 private:
  void MeasureSize(int64_t bytes) {
    const int64_t elements = bytes / SizeOf(DataType::kFloat32);
    const View vector = vector_.view().Slice(0, elements);
    const auto parts = Parts(elements, communicator_.size());
    const auto rank = static_cast<size_t>(communicator_.rank());
    const std::vector<int64_t> incoming(parts.size(), parts[rank]);
    Measure("all-reduce", bytes, [&] {
      communicator_.AllReduce(vector, 1.0 / communicator_.size(), Purpose::kMeasurement);
    });
    Measure("all-gather", bytes, [&] {
      communicator_.AllGather(vector.Slice(0, parts[rank]), other_.view(), parts,
                              Purpose::kMeasurement);
    });
    Measure("all-to-all", bytes, [&] {
      communicator_.AllToAll(vector, parts, other_.view(), incoming, Purpose::kMeasurement);
    });
  }

  /// Begins on all ranks together, and ends with the slowest.
  double TimeOf(const std::function<void()>& collective) {
    communicator_.Barrier();
    const double start = MonotonicSeconds();
    collective();
    device_.Synchronize();
    const std::vector<double> seconds = communicator_.AllGatherHost(MonotonicSeconds() - start);
    return *std::max_element(seconds.begin(), seconds.end());
  }

  void Measure(const char* name, int64_t bytes, const std::function<void()>& collective) {
    collective();
    const int64_t before = communicator_.traffic().total_sent();
    collective();
    Measured measured{
        .name = name, .bytes = bytes, .sent = communicator_.traffic().total_sent() - before};
    // The slowest rank's time is the same on all, so they agree on how often.
    const double once = TimeOf(collective);
    const auto count = std::clamp(static_cast<int64_t>(timing_.seconds / once),
                                  static_cast<int64_t>(timing_.repetitions), int64_t{10'000});
    std::vector<double> seconds;
    for (int64_t i = 0; i < count; ++i) seconds.push_back(TimeOf(collective));
    measured.seconds = Median(std::move(seconds));
    measured_.push_back(measured);
  }

  BenchReport Report() const {
    double best = 0;
    for (const Measured& line : measured_) best = std::max(best, line.rate());
    nlohmann::ordered_json json = {{"bench", "comm"},
                                   {"device", device_.description()},
                                   {"ranks", communicator_.size()},
                                   {"communicator", communicator_.description()},
                                   {"collectives", nlohmann::ordered_json::array()}};
    std::string text = fmt::format("{}, {}\n\n{:<12} {:>12} {:>12} {:>10} {:>12} {:>16}\n",
                                   device_.description(), communicator_.description(), "collective",
                                   "bytes", "rank sends", "ms", "GB/s", "share of best");
    for (const Measured& line : measured_) {
      text +=
          fmt::format("{:<12} {:>12} {:>12} {:>10.4f} {:>12.4f} {:>16.3f}\n", line.name, line.bytes,
                      line.sent, 1e3 * line.seconds, 1e-9 * line.rate(), line.rate() / best);
      json["collectives"].push_back({{"name", line.name},
                                     {"bytes", line.bytes},
                                     {"sent_bytes", line.sent},
                                     {"ms", 1e3 * line.seconds},
                                     {"gb_per_s", 1e-9 * line.rate()},
                                     {"share", line.rate() / best}});
    }
    return {text, json.dump()};
  }

  Device& device_;
  Communicator& communicator_;
  TimingOptions timing_;
  int64_t largest_;
  Buffer vector_, other_;
  std::vector<Measured> measured_;
};

}  // namespace

BenchReport BenchCollectives(Rank& rank, const BenchOptions& options) {
  if (rank.alone()) {
    throw Error("bench comm measures what ranks send, and there is one alone",
                "give --workers, --gpus, or start it with mpirun", Error::Kind::kUsage);
  }
  return CollectiveBench(rank, options).Run();
}

}  // namespace thinwire
