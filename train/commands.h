// The program's commands.
#pragma once

#include "train/command_line.h"

namespace thinwire {

/// Runs the command. @return The program's exit status. @throws Error.
int RunCommand(const CommandLine& command_line);

}  // namespace thinwire
