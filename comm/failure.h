// What is said when a collective cannot be completed.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "kernels/error.h"

namespace thinwire {

/// Seconds of a clock that only goes forward.
double MonotonicSeconds();

std::string HostName();

/// What a rank is doing: "all-gather at step 12".
struct Place {
  const char* collective;
  int64_t step;
  std::string text() const;
};

/// "rank 3 on node7"; of several ranks "rank 3 on node7, rank 4 on node8 and 2 more".
/// @param hosts The host of every rank.
std::string NameRanks(const std::vector<int>& ranks, const std::vector<std::string>& hosts);

/// The ranks `names` have shown no progress for `timeout` seconds.
Error SilentRanks(const Place& place, const std::string& names, double timeout);
/// The ranks `names` exist no more.
Error EndedRanks(const Place& place, const std::string& names);
/// Rank `name` called Abort, or failed inside a collective, and said why.
Error RankGaveUp(const Place& place, const std::string& name, const std::string& reason);
/// What rank `name` sent is not what this rank expects. @param difference "has 12 bytes, not 16".
Error DifferentCalls(const Place& place, const std::string& name, const std::string& difference);

}  // namespace thinwire
