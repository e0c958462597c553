// The program's commands.
#pragma once

#include "comm/communicator.h"
#include "train/command_line.h"

namespace thinwire {

/// Runs the command. @param mpi Null unless this process is one of several ranks.
/// @return The program's exit status. @throws Error.
int RunCommand(const CommandLine& command_line, MpiSession* mpi = nullptr);

}  // namespace thinwire
