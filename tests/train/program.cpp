#include "tests/train/program.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

namespace thinwire {

Program::Program(const std::vector<std::string>& arguments, long file_size_limit) {
  const std::string program = THINWIRE_BINARY;
  std::vector<char*> argument_pointers = {const_cast<char*>(program.c_str())};
  for (const std::string& argument : arguments) {
    argument_pointers.push_back(const_cast<char*>(argument.c_str()));
  }
  argument_pointers.push_back(nullptr);
  const int output = open((folder_ / "output").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
  const int errors = open((folder_ / "errors").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
  process_ = fork();
  if (process_ == 0) {
    dup2(output, STDOUT_FILENO);
    dup2(errors, STDERR_FILENO);
    if (file_size_limit > 0) {
      const rlimit limit = {static_cast<rlim_t>(file_size_limit),
                            static_cast<rlim_t>(file_size_limit)};
      setrlimit(RLIMIT_FSIZE, &limit);
      signal(SIGXFSZ, SIG_IGN);
    }
    execv(program.c_str(), argument_pointers.data());
    _exit(127);
  }
  close(output);
  close(errors);
}

Program::~Program() {
  if (process_ > 0) {
    kill(process_, SIGKILL);
    waitpid(process_, nullptr, 0);
  }
}

void Program::Signal(int signal) const { kill(process_, signal); }

ProgramResult Program::Wait() {
  int status = 0;
  waitpid(process_, &status, 0);
  process_ = -1;
  return {WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status),
          ReadText(folder_ / "output"), ReadText(folder_ / "errors")};
}

std::string Program::output() const { return ReadText(folder_ / "output"); }

ProgramResult RunProgram(const std::vector<std::string>& arguments, long file_size_limit) {
  return Program(arguments, file_size_limit).Wait();
}

}  // namespace thinwire
