// The one exception type that reaches the user.
#pragma once

#include <stdexcept>
#include <string>

namespace thinwire {

/// An error told to the user as one line: what was attempted on which file, tensor or rank, what
/// went wrong, and what to do about it. `kUsage` (a wrong flag, name or value) makes the program
/// exit with 2, `kFailure` with 1.
class Error : public std::runtime_error {
 public:
  enum class Kind { kFailure, kUsage };

  /// @param problem What was attempted, on what, and what went wrong.
  /// @param remedy What the user can do; empty if there is nothing to say.
  Error(const std::string& problem, const std::string& remedy, Kind kind = Kind::kFailure)
      : std::runtime_error(remedy.empty() ? problem : problem + "; " + remedy), kind_(kind) {}

  Kind kind() const { return kind_; }
  int exit_code() const { return kind_ == Kind::kUsage ? 2 : 1; }

 private:
  Kind kind_;
};

}  // namespace thinwire
