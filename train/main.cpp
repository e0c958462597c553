// thinwire: trains image classifiers.
#include <cstdio>
#include <exception>
#include <new>
#include <optional>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "kernels/error.h"
#include "train/commands.h"
#include "train/stop_signal.h"

int main(int argc, char** argv) {
  thinwire::TakeSignalsAside();
  std::optional<thinwire::MpiSession> mpi;
  std::string message;
  int status = 1;
  try {
    if (thinwire::StartedByMpi()) mpi.emplace(argc, argv);
    return thinwire::RunCommand(
        thinwire::ParseCommandLine(std::vector<std::string>(argv + 1, argv + argc)),
        mpi ? &*mpi : nullptr);
  } catch (const thinwire::Error& error) {
    message = error.what();
    status = error.exit_code();
  } catch (const std::bad_alloc&) {
    message = "out of memory; try a smaller --batch-size";
  } catch (const std::exception& error) {
    message = error.what();
  }
  if (mpi) mpi->Abort(message, status);
  std::fprintf(stderr, "thinwire: %s\n", message.c_str());
  return status;
}
