#include "train/agreement.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "comm/failure.h"
#include "train/atomic_file.h"
#include "kernels/crc32c.h"

#ifndef THINWIRE_VERSION
#define THINWIRE_VERSION "0.1.0"
#endif

namespace thinwire {
namespace {

uint32_t ChecksumOfProgram() {
  try {
    return Crc32c(ReadFile("/proc/self/exe"));
  } catch (const Error&) {
    return 0;  // no /proc: then versions alone are compared
  }
}

/// The next line of `text`, which loses it.
std::string_view TakeLine(std::string_view& text) {
  const size_t length = std::min(text.find('\n'), text.size());
  const std::string_view line = text.substr(0, length);
  text.remove_prefix(std::min(length + 1, text.size()));
  return line;
}

/// The first line of `own` that differs from that of `other`, and that one.
std::pair<std::string, std::string> FirstDifference(std::string_view own, std::string_view other) {
  const auto shown = [](std::string_view line) {
    return line.empty() ? std::string("nothing") : std::string(line);
  };
  while (!own.empty() || !other.empty()) {
    const std::string_view a = TakeLine(own), b = TakeLine(other);
    if (a != b) return {shown(a), shown(b)};
  }
  return {"other text", "this text"};
}

/// Checksums of each tensor's values, as text.
std::string TensorChecksums(const ParameterArena& arena) {
  std::string text;
  std::vector<std::byte> bytes;
  for (const Segment& segment : arena.segments()) {
    const View values = arena.values().Slice(segment.offset, segment.size);
    bytes.resize(static_cast<size_t>(segment.size * SizeOf(values.type)));
    arena.device().CopyToHost(values, bytes.data());
    text += fmt::format("{:08x} {}\n", Crc32c(bytes), segment.spec.name);
  }
  return text;
}

}  // namespace

std::string BuildText() {
  static const std::string text =
      fmt::format("thinwire {}, build {:08x}\n", THINWIRE_VERSION, ChecksumOfProgram());
  return text;
}

void CompareRanks(Communicator& communicator, const std::string& facts, const std::string& remedy,
                  Error::Kind kind) {
  const std::vector<std::string> all = communicator.AllGatherHost(facts);
  const auto other = std::ranges::find_if(all, [&](const auto& text) { return text != all[0]; });
  if (other == all.end()) return;
  const std::vector<std::string> hosts = communicator.AllGatherHost(HostName());
  const auto rank = static_cast<size_t>(other - all.begin());
  const auto [theirs, first] = FirstDifference(*other, all[0]);
  throw Error(fmt::format("rank {} on {} has {}, but rank 0 on {} has {}", rank, hosts[rank],
                          theirs, hosts[0], first),
              remedy, kind);
}

void CheckReplicas(Communicator& communicator, const ParameterArena& arena) {
  if (communicator.size() == 1) return;
  const UncountedTraffic uncounted(communicator);
  const std::string own = TensorChecksums(arena);
  const auto checksum = static_cast<int64_t>(Crc32c(std::as_bytes(std::span(own))));
  const std::vector<int64_t> checksums = communicator.AllGatherHost(checksum);
  const auto other =
      std::ranges::find_if(checksums, [&](int64_t value) { return value != checksums[0]; });
  if (other == checksums.end()) return;
  const auto rank = static_cast<size_t>(other - checksums.begin());
  const std::vector<std::string> all = communicator.AllGatherHost(own);
  const std::vector<std::string> hosts = communicator.AllGatherHost(HostName());
  const std::string tensor = FirstDifference(all[rank], all[0]).first.substr(9);
  throw Error(
      fmt::format("step {}: rank {} on {} has other values of {} than rank 0 on {}",
                  communicator.step(), rank, hosts[rank], tensor, hosts[0]),
      "the checkpoints are intact; see whether both hosts have sound memory and equal processors");
}

int AgreeOnSignal(Communicator& communicator, int received) {
  if (communicator.size() == 1) return received;
  return static_cast<int>(std::ranges::max(communicator.AllGatherHost(int64_t{received})));
}

}  // namespace thinwire
