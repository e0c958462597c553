// Runs the thinwire program itself, as a person would.
#pragma once

#include <sys/types.h>

#include <string>
#include <utility>
#include <vector>

#include "tests/train/temporary_folder.h"

namespace thinwire {

struct ProgramResult {
  int status = 0;  // exit status, or 128 + the signal that killed it
  std::string output, errors;
};

/// A started program; its output goes to files in a folder of its own.
class Program {
 public:
  /// Any program, found in PATH, and its arguments.
  struct Command {
    std::vector<std::string> words;
  };

  /// @param file_size_limit Largest file that it may write, in bytes (a stand-in for a full disk);
  ///     0: no limit.
  explicit Program(const std::vector<std::string>& arguments, long file_size_limit = 0);
  explicit Program(const Command& command, long file_size_limit = 0);
  ~Program();
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  void Signal(int signal) const;
  ProgramResult Wait();
  /// What it has printed so far.
  std::string output() const;

 private:
  pid_t process_ = -1;
  TemporaryFolder folder_;
};

/// Whether there is an mpirun that starts ranks of the program.
bool HasMpi();
/// How many ranks get which arguments.
using RankArguments = std::pair<int, std::vector<std::string>>;
Program::Command MpiCommand(const std::vector<RankArguments>& ranks);
/// Runs the program as ranks under mpirun.
ProgramResult RunRanks(int ranks, const std::vector<std::string>& arguments);

ProgramResult RunProgram(const std::vector<std::string>& arguments, long file_size_limit = 0);

}  // namespace thinwire
