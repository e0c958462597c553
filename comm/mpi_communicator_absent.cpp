// Stands in for mpi_communicator.cpp in a program built without MPI.
#include <cstdlib>

#include "comm/communicator.h"
#include "kernels/error.h"

namespace thinwire {

struct MpiSession::State {};

MpiSession::MpiSession(int&, char**&, const CommunicatorOptions&) {
  throw Error("several processes cannot work together: thinwire was built without MPI",
              "build it with THINWIRE_MPI=ON, or use --workers for ranks in one process",
              Error::Kind::kUsage);
}

// None of these is ever reached, as there is no session.
MpiSession::~MpiSession() = default;
int MpiSession::rank() const { return 0; }
int MpiSession::size() const { return 1; }
void MpiSession::set_timeout(double) {}
void MpiSession::set_stop_signal(std::function<int()>) {}
std::unique_ptr<Communicator> MpiSession::Join(Device& device) {
  return MakeSingleCommunicator(device);
}
void MpiSession::Abort(const std::string&, int exit_code) { std::exit(exit_code); }

}  // namespace thinwire
