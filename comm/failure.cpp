#include "comm/failure.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>

namespace thinwire {

double MonotonicSeconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

std::string HostName() {
  std::array<char, 256> name{};
  if (gethostname(name.data(), name.size() - 1) != 0) return "an unnamed host";
  return name.data();
}

std::string Place::text() const { return fmt::format("{} at step {}", collective, step); }

std::string NameRanks(const std::vector<int>& ranks, const std::vector<std::string>& hosts) {
  constexpr size_t kNamed = 3;
  std::string text;
  for (size_t i = 0; i < std::min(ranks.size(), kNamed); ++i) {
    text += fmt::format("{}rank {} on {}", i == 0 ? "" : ", ", ranks[i],
                        hosts[static_cast<size_t>(ranks[i])]);
  }
  if (ranks.size() > kNamed) text += fmt::format(" and {} more", ranks.size() - kNamed);
  return text;
}

Error SilentRanks(const Place& place, const std::string& names, double timeout) {
  return {fmt::format("{}: no progress for {:g} s of {}", place.text(), timeout, names),
          "see whether it is stopped or stuck, or raise --dist-timeout if it is only slow"};
}

Error EndedRanks(const Place& place, const std::string& names) {
  return {fmt::format("{}: {} has ended", place.text(), names),
          "see what it said, and whether something killed it (memory?)"};
}

Error RankGaveUp(const Place& place, const std::string& name, const std::string& reason) {
  return {fmt::format("{}: {} gave up: {}", place.text(), name, reason), ""};
}

Error DifferentCalls(const Place& place, const std::string& name, const std::string& difference) {
  return {fmt::format("{}: what {} sent {}", place.text(), name, difference),
          "all ranks have to run the same program with the same settings"};
}

}  // namespace thinwire
