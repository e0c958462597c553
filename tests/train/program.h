// Runs the thinwire program itself, as a person would.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

namespace thinwire {

struct ProgramResult {
  int status = 0;  // exit status, or 128 + the signal that killed it
  std::string output, errors;
};

/// A started program; its output goes to files in a folder of its own.
class Program {
 public:
  /// @param file_size_limit Largest file that it may write, in bytes (a stand-in for a full disk);
  ///     0: no limit.
  explicit Program(const std::vector<std::string>& arguments, long file_size_limit = 0);
  ~Program();
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  void Signal(int signal) const;
  ProgramResult Wait();
  /// What it has printed so far.
  std::string output() const;

 private:
  pid_t process_ = -1;
  std::string folder_;
};

ProgramResult RunProgram(const std::vector<std::string>& arguments, long file_size_limit = 0);

/// A folder that is removed at the end of the test.
class TemporaryFolder {
 public:
  TemporaryFolder();
  ~TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  const std::string& path() const { return path_; }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

std::string FileText(const std::string& path);
void WriteText(const std::string& path, const std::string& text);

}  // namespace thinwire
