// Where a process runs, in a form that can be sent to others.
#pragma once

#include <array>
#include <cstdint>

namespace thinwire {

struct ProcessIdentity {
  std::array<char, 256> host;  // ends with a zero
  uint64_t machine;            // equal for processes that see each other's numbers
  int64_t process;
};

ProcessIdentity OwnIdentity();

}  // namespace thinwire
