#include "tests/train/program.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

namespace thinwire {

namespace {

std::vector<std::string> CommandOf(const std::vector<std::string>& arguments) {
  std::vector<std::string> command = {THINWIRE_BINARY};
  command.insert(command.end(), arguments.begin(), arguments.end());
  return command;
}

}  // namespace

Program::Program(const std::vector<std::string>& arguments, long file_size_limit)
    : Program(Command{CommandOf(arguments)}, file_size_limit) {}

Program::Program(const Command& command, long file_size_limit) {
  std::vector<char*> argument_pointers;
  for (const std::string& argument : command.words) {
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
    execvp(argument_pointers[0], argument_pointers.data());
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

bool HasMpi() {
  static const bool has = [] {
    const ProgramResult result = Program(Program::Command{{"mpirun", "--version"}}).Wait();
    return result.status == 0 && RunRanks(2, {"help"}).status == 0;
  }();
  return has;
}

Program::Command MpiCommand(const std::vector<RankArguments>& ranks) {
  Program::Command command{{"mpirun", "--allow-run-as-root", "--oversubscribe"}};
  for (const auto& [count, arguments] : ranks) {
    if (&arguments != &ranks.front().second) command.words.push_back(":");
    for (const std::string& word : {std::string("-n"), std::to_string(count)}) {
      command.words.push_back(word);
    }
    const std::vector<std::string> program = CommandOf(arguments);
    command.words.insert(command.words.end(), program.begin(), program.end());
  }
  return command;
}

ProgramResult RunRanks(int ranks, const std::vector<std::string>& arguments) {
  return Program(MpiCommand({{ranks, arguments}})).Wait();
}

ProgramResult RunProgram(const std::vector<std::string>& arguments, long file_size_limit) {
  return Program(arguments, file_size_limit).Wait();
}

}  // namespace thinwire
