// The program's commands, for the parser and for help.
#pragma once

#include <string>
#include <vector>

#include "train/settings.h"

namespace thinwire {

struct CommandEntry {
  Command command;
  const char* name;        // "train"
  const char* positional;  // what its one argument without a flag is called; "" for none
  bool takes_recipe;       // --config
  const char* summary;     // one line
  const char* details;     // sentences
};

const std::vector<CommandEntry>& Commands();
/// The entry of that name, or null.
const CommandEntry* FindCommand(const std::string& name);

}  // namespace thinwire
