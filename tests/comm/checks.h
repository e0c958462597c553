// What every communicator has to do, checked from inside a rank: for GoogleTest over threads and
// for the program that mpirun starts.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "comm/communicator.h"

namespace thinwire {

/// What a rank found wrong; empty if nothing.
using Findings = std::vector<std::string>;

/// All ranks of the communicator call `run` together.
struct CollectiveCheck {
  const char* name;
  void (*run)(Communicator& communicator, Device& device, Findings& findings);
};
std::span<const CollectiveCheck> CollectiveChecks();

}  // namespace thinwire
