// What the ranks of a run have to agree on, and how they find out.
#pragma once

#include <cstdint>
#include <string>

#include "comm/communicator.h"
#include "kernels/error.h"
#include "kernels/parameter_arena.h"

namespace thinwire {

/// The program itself: its version and a checksum of its file.
std::string BuildText();

/// Compares texts of one fact a line: each is what a rank "has" ("lr = 0.1").
/// @throws Error (on all ranks) that names the first rank that differs from rank 0, both hosts, and
///     the first line that differs.
void CompareRanks(Communicator& communicator, const std::string& facts, const std::string& remedy,
                  Error::Kind kind = Error::Kind::kFailure);

/// Compares checksums of the parameters.
/// @throws Error (on all ranks) that names the first tensor and rank that differ from rank 0.
void CheckReplicas(Communicator& communicator, const ParameterArena& arena);

/// The signal that some rank has received, or 0: the same answer on all ranks.
int AgreeOnSignal(Communicator& communicator, int received);

/// What is sent while it lives is not counted: what starting, saving and resuming need depends on
/// how often a run is interrupted, and its figures must not.
class UncountedTraffic {
 public:
  explicit UncountedTraffic(Communicator& communicator)
      : communicator_(communicator), traffic_(communicator.traffic()) {}
  ~UncountedTraffic() { communicator_.RestoreTraffic(traffic_); }
  UncountedTraffic(const UncountedTraffic&) = delete;
  UncountedTraffic& operator=(const UncountedTraffic&) = delete;

 private:
  Communicator& communicator_;
  Traffic traffic_;
};

}  // namespace thinwire
