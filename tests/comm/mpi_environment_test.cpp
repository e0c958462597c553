#include <gtest/gtest.h>

#include <cstdlib>
#include <map>
#include <string>

#include "comm/communicator.h"

namespace thinwire {
namespace {

bool Started(const std::map<std::string, std::string>& environment) {
  for (const char* name :
       {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "PMIX_RANK", "SLURM_STEP_NUM_TASKS", "SLURM_NTASKS"}) {
    unsetenv(name);
  }
  for (const auto& [name, value] : environment) setenv(name.c_str(), value.c_str(), 1);
  const bool started = StartedByMpi();
  for (const auto& [name, value] : environment) unsetenv(name.c_str());
  return started;
}

TEST(StartedByMpi, OnlyIfALauncherStartedSeveral) {
  EXPECT_FALSE(Started({}));
  EXPECT_TRUE(Started({{"OMPI_COMM_WORLD_SIZE", "2"}}));
  EXPECT_FALSE(Started({{"OMPI_COMM_WORLD_SIZE", "1"}}));
  EXPECT_TRUE(Started({{"PMI_SIZE", "8"}}));
  EXPECT_TRUE(Started({{"PMIX_RANK", "0"}, {"SLURM_STEP_NUM_TASKS", "8"}}));
  EXPECT_TRUE(Started({{"PMIX_RANK", "3"}, {"SLURM_NTASKS", "8"}}));
  EXPECT_FALSE(Started({{"PMIX_RANK", "0"}}));
  EXPECT_FALSE(Started({{"PMI_SIZE", "many"}}));
  // A batch script before its srun.
  EXPECT_FALSE(Started({{"SLURM_NTASKS", "8"}}));
}

}  // namespace
}  // namespace thinwire
