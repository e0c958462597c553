// How one setting's value is checked, set and written; inside the schema's own files.
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "train/settings.h"

namespace thinwire {

/// A value as a recipe or a flag gives it, before it is known to fit its setting.
using RawScalar = std::variant<bool, int64_t, double, std::string>;
struct RawValue {
  std::vector<RawScalar> elements;  // one unless list
  bool list = false;
  std::string text;  // as the user wrote it, for messages
};

/// Checks type, range and choices, and sets.
/// @param source "--batch-size", or "recipe.toml:3: batch-size".
/// @throws Error (usage); `settings` are unchanged then.
void SetValue(const SettingEntry& entry, const RawValue& value, const std::string& source,
              Settings& settings);

/// "a whole number of at least 1", "on or off", "one of A, B", for messages and help.
std::string Expectation(const SettingEntry& entry);

/// `text` in quotes, cut to a readable length, control characters escaped, for messages.
std::string Quoted(const std::string& text);

}  // namespace thinwire
