// Which rank is to blame when data does not come: not always the one that should have sent it.
#pragma once

#include <algorithm>
#include <vector>

namespace thinwire {

/// What one rank knows of the others from their reports. Times are in seconds of one clock.
class RankLeases {
 public:
  explicit RankLeases(int size) : ranks_(static_cast<size_t>(size)) {}

  /// `rank` made progress.
  void Progressed(int rank, double now) { ranks_[static_cast<size_t>(rank)] = {now, -1}; }
  /// `rank` sits in a collective, for want of what rank `other` should send.
  void Waits(int rank, int other) { ranks_[static_cast<size_t>(rank)].waits_for = other; }

  /// The rank that keeps `rank` from sending, itself if nothing else is known. A rank that waits
  /// for another is as alive as that one; ranks that wait for each other are to blame themselves.
  int Blame(int rank) const {
    int blamed = rank;
    for (size_t hops = 0; hops < ranks_.size(); ++hops) {
      const int next = ranks_[static_cast<size_t>(blamed)].waits_for;
      if (next < 0) return blamed;
      blamed = next;
    }
    return rank;
  }

  /// When the rank to blame for `rank` was last known to make progress; at least `since`.
  double LastProgress(int rank, double since) const {
    return std::max(since, ranks_[static_cast<size_t>(Blame(rank))].progressed);
  }

 private:
  struct Rank {
    double progressed = 0;
    int waits_for = -1;
  };
  std::vector<Rank> ranks_;
};

}  // namespace thinwire
