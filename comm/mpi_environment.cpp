// Whether a launcher started this process: read from the environment, since MPI itself may only be
// asked once it has been initialised, and a program that runs alone shall not do that.
#include <cstdlib>
#include <initializer_list>

#include "comm/communicator.h"

namespace thinwire {

bool StartedByMpi() {
  // Open MPI's mpirun; launchers that speak PMI-1 or PMI-2 (MPICH's, Intel MPI's, srun).
  for (const char* name : {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE"}) {
    if (const char* size = std::getenv(name)) return std::atoi(size) > 1;
  }
  // srun --mpi=pmix gives ranks; the number of them is only in Slurm's own variables, which the
  // processes of a batch script have, too.
  if (std::getenv("PMIX_RANK") == nullptr) return false;
  for (const char* name : {"SLURM_STEP_NUM_TASKS", "SLURM_NTASKS"}) {
    if (const char* size = std::getenv(name)) return std::atoi(size) > 1;
  }
  return false;
}

}  // namespace thinwire
