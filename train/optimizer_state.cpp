#include "train/optimizer_state.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <iterator>
#include <map>
#include <memory>
#include <vector>

#include "kernels/error.h"
#include "train/arena_vectors.h"

namespace thinwire {
namespace {

/// What is counted on; measurements, the last purpose, are not.
constexpr std::array<const char*, kPurposes - 1> kPurposeNames = {"uplink", "downlink", "state",
                                                                  "control"};
static_assert(static_cast<size_t>(Purpose::kMeasurement) == kPurposeNames.size());

/// The part of a segment that lies in a server's range, in elements of the arena.
Range PartIn(const Segment& segment, const Range& range) {
  return {std::max(segment.offset, range.begin),
          std::min(segment.offset + segment.size, range.end)};
}

std::string ServerName(const std::string& state, const Segment& segment, int64_t begin) {
  return fmt::format("server/{}/{}@{}", state, segment.spec.name, begin - segment.offset);
}

template <typename T>
void CopyIn(const std::vector<T>& values, Device& device, View destination) {
  if (destination.size > 0) device.CopyFromHost(values.data(), destination);
}

/// Vectors of the arena's type that were saved by any number of ranks.
template <typename T>
class SavedVectors {
 public:
  SavedVectors(const SavedRun& saved, const ParameterArena& arena, Communicator& communicator)
      : saved_(saved), arena_(arena), communicator_(communicator) {}

  /// Asks for a state, before Read.
  void WantMean(const std::string& state) { means_[state].resize(padded_size()); }
  void WantServer(const std::string& state) { servers_[state].assign(padded_size(), T{}); }

  /// Reads all ranks' files, one at a time.
  void Read() {
    std::map<std::string, int64_t> found;  // elements of each server's vector
    for (int64_t rank = 0; rank < saved_.ranks(); ++rank) {
      const auto part = saved_.LoadRank(rank);
      communicator_.Progress();
      for (auto& [state, sum] : means_) {
        for (const Segment& segment : arena_.segments()) {
          const std::vector<T>& values = FindVector<T>(
              *part, fmt::format("worker/{}/{}", state, segment.spec.name), segment.size);
          for (int64_t i = 0; i < segment.size; ++i) {
            sum[static_cast<size_t>(segment.offset + i)] += values[static_cast<size_t>(i)];
          }
        }
      }
      for (auto& [state, whole] : servers_) found[state] += AddServer(*part, state, whole);
    }
    for (const auto& [state, elements] : found) {
      if (elements == arena_.parameter_count()) continue;
      throw Error(fmt::format("{} holds {} of the {} elements of {}", saved_.path(), elements,
                              arena_.parameter_count(), state),
                  "it belongs to another optimizer; use the run's own settings");
    }
  }

  /// Of a state's part of the arena.
  std::vector<T> Mean(const std::string& state, const Range& range) const {
    const auto begin = means_.at(state).begin();
    std::vector<T> mean;
    std::transform(
        begin + range.begin, begin + range.end, std::back_inserter(mean),
        [&](double sum) { return static_cast<T>(sum / static_cast<double>(saved_.ranks())); });
    return mean;
  }
  std::vector<T> Server(const std::string& state, const Range& range) const {
    const auto begin = servers_.at(state).begin();
    return {begin + range.begin, begin + range.end};
  }

 private:
  size_t padded_size() const { return static_cast<size_t>(arena_.padded_size()); }

  /// Puts one rank's parts of a server's vector where they belong; returns their elements.
  int64_t AddServer(const Checkpoint& part, const std::string& state, std::vector<T>& whole) {
    int64_t elements = 0;
    for (const Segment& segment : arena_.segments()) {
      const std::string prefix = fmt::format("server/{}/{}@", state, segment.spec.name);
      const auto& vectors = [&part]() -> const auto& {
        if constexpr (std::is_same_v<T, double>) {
          return part.wide_vectors;
        } else {
          return part.vectors;
        }
      }
      ();
      for (auto it = vectors.lower_bound(prefix);
           it != vectors.end() && it->first.starts_with(prefix); ++it) {
        const int64_t begin = std::strtoll(it->first.c_str() + prefix.size(), nullptr, 10);
        const int64_t size = std::ssize(it->second);
        if (begin < 0 || size > segment.size || begin > segment.size - size) {
          throw Error(fmt::format("{} of {} reaches beyond its tensor", it->first, saved_.path()),
                      "it belongs to another model; use the run's own settings");
        }
        std::ranges::copy(it->second, whole.begin() + segment.offset + begin);
        elements += size;
      }
    }
    return elements;
  }

  const SavedRun& saved_;
  const ParameterArena& arena_;
  Communicator& communicator_;
  std::map<std::string, std::vector<double>> means_;
  std::map<std::string, std::vector<T>> servers_;
};

/// Whether this rank's file holds exactly what its servers' ranges need now.
template <typename T>
bool HoldsServerRanges(const Checkpoint& own, const ParameterArena& arena,
                       const std::vector<OptimizerState>& states) {
  for (const OptimizerState& state : states) {
    if (state.kind != StateKind::kServer) continue;
    for (const Segment& segment : arena.segments()) {
      const Range part = PartIn(segment, state.range);
      if (part.begin >= part.end) continue;
      const auto fits = [&](const auto& vectors) {
        const auto found = vectors.find(ServerName(state.name, segment, part.begin));
        return found != vectors.end() && std::ssize(found->second) == part.end - part.begin;
      };
      if (!fits(own.vectors) && !fits(own.wide_vectors)) return false;
    }
  }
  return true;
}

/// Each rank's own vectors as they were.
template <typename T>
void RestoreOwn(const Checkpoint& own, const ParameterArena& arena,
                const std::vector<OptimizerState>& states) {
  Device& device = arena.device();
  for (const OptimizerState& state : states) {
    if (state.kind == StateKind::kWorker) {
      LoadVectors(own, "worker/" + state.name + "/", arena.SegmentsIn(state.range), device,
                  state.values);
    } else if (state.kind == StateKind::kServer) {
      device.Zero(state.values);
      for (const Segment& segment : arena.segments()) {
        const Range part = PartIn(segment, state.range);
        if (part.begin >= part.end) continue;
        const std::vector<T>& values =
            FindVector<T>(own, ServerName(state.name, segment, part.begin), part.end - part.begin);
        CopyIn(values, device,
               state.values.Slice(part.begin - state.range.begin, std::ssize(values)));
      }
    }
  }
}

/// Each rank's own vectors from those of other ranks; says how.
template <typename T>
std::string CarryOwn(const SavedRun& saved, const ParameterArena& arena, Communicator& communicator,
                     const std::vector<OptimizerState>& states) {
  Device& device = arena.device();
  const bool workers_change = saved.ranks() != communicator.size();
  const auto is_common = [&](const std::string& name) {
    return std::ranges::any_of(states, [&](const OptimizerState& state) {
      return state.name == name && state.kind == StateKind::kCommon;
    });
  };
  SavedVectors<T> vectors(saved, arena, communicator);
  for (const OptimizerState& state : states) {
    if (state.kind == StateKind::kServer) vectors.WantServer(state.name);
    if (state.kind != StateKind::kWorker || !workers_change) continue;
    if (state.carry_over == CarryOver::kMean) vectors.WantMean(state.name);
    if (state.carry_over == CarryOver::kFromServer && !is_common(state.source)) {
      vectors.WantServer(state.source);
    }
  }
  vectors.Read();

  std::shared_ptr<const Checkpoint> own;
  std::vector<std::string> deeds;
  const auto tell = [&deeds](const std::string& deed) {  // once, whatever the number of parts
    if (std::ranges::find(deeds, deed) == deeds.end()) deeds.push_back(deed);
  };
  for (const OptimizerState& state : states) {
    const std::vector<Segment> segments = arena.SegmentsIn(state.range);
    if (state.kind == StateKind::kServer) {
      CopyIn(vectors.Server(state.name, state.range), device, state.values);
      tell(state.name + " is cut anew");
    } else if (state.kind == StateKind::kWorker && !workers_change) {
      if (!own) own = saved.LoadRank(communicator.rank());
      LoadVectors(*own, "worker/" + state.name + "/", segments, device, state.values);
    } else if (state.kind == StateKind::kWorker && state.carry_over == CarryOver::kMean) {
      CopyIn(vectors.Mean(state.name, state.range), device, state.values);
      tell(state.name + " starts from the mean of the saved ones");
    } else if (state.kind == StateKind::kWorker && is_common(state.source)) {
      LoadVectors(saved.common(), "optimizer/" + state.source + "/", segments, device,
                  state.values);
      tell(fmt::format("{} starts from {}", state.name, state.source));
    } else if (state.kind == StateKind::kWorker) {
      CopyIn(vectors.Server(state.source, state.range), device, state.values);
      tell(fmt::format("{} starts from {}", state.name, state.source));
    }
  }
  const std::string change =
      workers_change ? fmt::format("{} -> {} workers", saved.ranks(), communicator.size())
                     : std::string("other servers");
  return fmt::format("{}: {}", change,
                     deeds.empty() ? "no worker had a state of its own"
                                   : fmt::format("{}", fmt::join(deeds, ", ")));
}

template <typename T>
std::string RestoreVectors(const SavedRun& saved, const Checkpoint* own,
                           const ParameterArena& arena, Communicator& communicator,
                           const std::vector<OptimizerState>& states) {
  for (const OptimizerState& state : states) {
    if (state.kind != StateKind::kCommon) continue;
    LoadVectors(saved.common(), "optimizer/" + state.name + "/", arena.SegmentsIn(state.range),
                arena.device(), state.values);
  }
  // All ranks take the same way, though only some may find other ranges in their files.
  const bool fits = own != nullptr && HoldsServerRanges<T>(*own, arena, states);
  const std::vector<int64_t> all = communicator.AllGatherHost(int64_t{fits});
  if (std::ranges::find(all, 0) != all.end()) {
    return CarryOwn<T>(saved, arena, communicator, states);
  }
  RestoreOwn<T>(*own, arena, states);
  return {};
}

void StoreCounters(const StepCosts& costs, const Traffic& traffic, Checkpoint& own) {
  own.integers["paper_bits_up"] = costs.paper_bits_up;
  own.integers["paper_bits_down"] = costs.paper_bits_down;
  own.integers["coded_bits_up"] = costs.coded_bits_up;
  own.integers["coded_bits_down"] = costs.coded_bits_down;
  for (size_t i = 0; i < kPurposeNames.size(); ++i) {
    own.integers[fmt::format("bytes_sent/{}", kPurposeNames[i])] = traffic.sent[i];
    own.integers[fmt::format("bytes_received/{}", kPurposeNames[i])] = traffic.received[i];
  }
}

}  // namespace

void StoreOptimizer(Optimizer& optimizer, const ParameterArena& arena,
                    const Communicator& communicator, Checkpoint& common, Checkpoint& own) {
  common.integers["optimizer_step"] = optimizer.step();
  Device& device = arena.device();
  for (const OptimizerState& state : optimizer.state()) {
    switch (state.kind) {
      case StateKind::kCommon:
        if (communicator.rank() != 0) break;
        StoreVectors("optimizer/" + state.name + "/", arena.SegmentsIn(state.range), device,
                     state.values, common);
        break;
      case StateKind::kWorker:
        StoreVectors("worker/" + state.name + "/", arena.SegmentsIn(state.range), device,
                     state.values, own);
        break;
      case StateKind::kServer:
        for (const Segment& segment : arena.segments()) {
          const Range part = PartIn(segment, state.range);
          if (part.begin >= part.end) continue;
          StoreVector(ServerName(state.name, segment, part.begin), device,
                      state.values.Slice(part.begin - state.range.begin, part.end - part.begin),
                      own);
        }
        break;
    }
  }
  StoreCounters(optimizer.costs(), communicator.traffic(), own);
}

std::string RestoreOptimizer(const SavedRun& saved, const ParameterArena& arena,
                             Communicator& communicator, Optimizer& optimizer) {
  optimizer.set_step(FindInteger(saved.common(), "optimizer_step"));
  const bool same_ranks = saved.ranks() == communicator.size();
  // A rank that the run did not have counts on from rank 0's figures of a worker, and from nothing
  // sent by itself.
  const int64_t counters_of = communicator.rank() < saved.ranks() ? communicator.rank() : 0;
  const auto own = saved.LoadRank(counters_of);
  StepCosts costs;
  costs.paper_bits_up = FindInteger(*own, "paper_bits_up");
  costs.paper_bits_down = FindInteger(*own, "paper_bits_down");
  costs.coded_bits_up = FindInteger(*own, "coded_bits_up");
  costs.coded_bits_down = FindInteger(*own, "coded_bits_down");
  optimizer.restore_costs(costs);

  const std::vector<OptimizerState> states = optimizer.state();
  const Checkpoint* part = same_ranks ? own.get() : nullptr;
  const std::string line = arena.type() == DataType::kFloat64
                               ? RestoreVectors<double>(saved, part, arena, communicator, states)
                               : RestoreVectors<float>(saved, part, arena, communicator, states);
  optimizer.StateRestored();

  Traffic traffic;
  if (communicator.rank() < saved.ranks()) {
    for (size_t i = 0; i < kPurposeNames.size(); ++i) {
      traffic.sent[i] = FindInteger(*own, fmt::format("bytes_sent/{}", kPurposeNames[i]));
      traffic.received[i] = FindInteger(*own, fmt::format("bytes_received/{}", kPurposeNames[i]));
    }
  }
  communicator.RestoreTraffic(traffic);
  return line;
}

}  // namespace thinwire
