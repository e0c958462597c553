// What mpirun's user sees when a rank fails: one message, soon, and nothing that lingers.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "comm/failure.h"

namespace thinwire {
namespace {

std::string ReadAll(const std::filesystem::path& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

int Count(const std::string& text, const std::string& part) {
  int count = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

/// Whether the process runs or is stopped; one that has ended may still have its number.
bool IsAlive(pid_t process) {
  const std::string status = ReadAll("/proc/" + std::to_string(process) + "/stat");
  const size_t name_end = status.rfind(") ");
  return name_end != std::string::npos && status[name_end + 2] != 'Z' &&
         status[name_end + 2] != 'X';
}

/// mpi_program under mpirun.
class Job {
 public:
  Job(int ranks, const std::vector<std::string>& arguments) {
    char name[] = "/tmp/thinwire_mpi_XXXXXX";
    folder_ = mkdtemp(name);
    std::vector<std::string> words = {THINWIRE_MPIEXEC, "--oversubscribe", "-n",
                                      std::to_string(ranks), THINWIRE_MPI_PROGRAM};
    words.insert(words.end(), arguments.begin(), arguments.end());
    std::vector<char*> pointers;
    for (std::string& word : words) pointers.push_back(word.data());
    pointers.push_back(nullptr);
    const int output = open((folder_ / "output").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    const int errors = open((folder_ / "errors").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    launcher_ = fork();
    if (launcher_ == 0) {
      // mpirun as root wants to be told twice that this is meant.
      setenv("OMPI_ALLOW_RUN_AS_ROOT", "1", 1);
      setenv("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1", 1);
      dup2(output, STDOUT_FILENO);
      dup2(errors, STDERR_FILENO);
      execv(words[0].c_str(), pointers.data());
      _exit(127);
    }
    close(output);
    close(errors);
  }
  Job(const Job&) = delete;
  Job& operator=(const Job&) = delete;
  ~Job() {
    if (launcher_ > 0) {
      kill(launcher_, SIGKILL);
      waitpid(launcher_, nullptr, 0);
    }
    for (const pid_t process : processes_) {
      if (IsAlive(process)) kill(process, SIGKILL);
    }
    std::filesystem::remove_all(folder_);
  }

  /// Waits until the ranks are at work, and learns their processes' numbers.
  void AwaitStart() {
    for (int i = 0; i < 1500 && IsAlive(launcher_) && Count(output(), "ready\n") == 0; ++i) {
      Sleep(0.02);
    }
    std::istringstream lines(output());
    std::string word;
    pid_t process = 0;
    while (lines >> word && word == "process" && lines >> process) processes_.push_back(process);
  }
  void Signal(int rank, int signal) const {
    kill(processes_.at(static_cast<size_t>(rank)), signal);
  }
  /// The exit status, or 128 + the signal that ended mpirun; -1 after `seconds`.
  int Wait(double seconds) {
    int status = 0;
    for (const double end = MonotonicSeconds() + seconds; MonotonicSeconds() < end; Sleep(0.02)) {
      if (waitpid(launcher_, &status, WNOHANG) != launcher_) continue;
      launcher_ = -1;
      return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    }
    return -1;
  }
  int alive() const {
    return static_cast<int>(std::count_if(processes_.begin(), processes_.end(), IsAlive));
  }
  std::string output() const { return ReadAll(folder_ / "output"); }
  std::string errors() const { return ReadAll(folder_ / "errors"); }
  static void Sleep(double seconds) {
    std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
  }

 private:
  std::filesystem::path folder_;
  pid_t launcher_ = -1;
  std::vector<pid_t> processes_;
};

/// The job ends within `seconds` with one message of ours, which mentions `parts`.
void ExpectEnd(Job& job, double seconds, const std::vector<std::string>& parts) {
  const int status = job.Wait(seconds);
  EXPECT_NE(status, -1) << "still running after " << seconds << " s";
  EXPECT_NE(status, 0);
  const std::string errors = job.errors();
  EXPECT_EQ(Count(errors, "thinwire: "), 1) << errors;
  const size_t start = std::min(errors.find("thinwire: "), errors.size());
  const std::string message = errors.substr(start, errors.find('\n', start) - start);
  for (const std::string& part : parts) {
    EXPECT_NE(message.find(part), std::string::npos) << part << " is not in: " << errors;
  }
  for (int i = 0; i < 100 && job.alive() > 0; ++i) Job::Sleep(0.02);
  EXPECT_EQ(job.alive(), 0) << "processes linger";
}

class MpiFault : public ::testing::TestWithParam<int> {
 protected:
  // Launching takes seconds on a busy machine; detecting must not take much longer than said.
  static constexpr double kSlack = 30;
  int ranks() const { return GetParam(); }
};

TEST_P(MpiFault, AKilledRank) {
  Job job(ranks(), {"loop", "30"});
  job.AwaitStart();
  Job::Sleep(0.2);
  job.Signal(1, SIGKILL);
  ExpectEnd(job, kSlack, {" at step ", "rank 1 on " + HostName(), "has ended"});
}

TEST_P(MpiFault, AKilledRankWhileAllCompute) {
  Job job(ranks(), {"compute", "30"});
  job.AwaitStart();
  Job::Sleep(0.5);
  job.Signal(1, SIGKILL);
  ExpectEnd(job, kSlack, {"computation at step 1", "rank 1 on " + HostName(), "has ended"});
}

// As the training loop does, which finishes its step at SIGTERM.
TEST_P(MpiFault, AKilledRankWhileTheOthersHandleSigterm) {
  Job job(ranks(), {"handler", "30"});
  job.AwaitStart();
  Job::Sleep(0.2);
  job.Signal(1, SIGKILL);
  ExpectEnd(job, kSlack, {" at step ", "rank 1 on " + HostName(), "has ended"});
}

TEST_P(MpiFault, ATerminatedRank) {
  Job job(ranks(), {"loop", "30"});
  job.AwaitStart();
  job.Signal(0, SIGTERM);
  ExpectEnd(job, kSlack, {" at step ", "rank 0 on " + HostName(), "has ended"});
}

TEST_P(MpiFault, AStoppedRank) {
  Job job(ranks(), {"loop", "2"});
  job.AwaitStart();
  Job::Sleep(0.2);
  const double start = MonotonicSeconds();
  job.Signal(1, SIGSTOP);
  ExpectEnd(job, 2 + kSlack,
            {" at step ", "no progress for 2 s", "rank 1 on " + HostName(), "--dist-timeout"});
  EXPECT_GE(MonotonicSeconds() - start, 1.9);
}

TEST_P(MpiFault, AnExceptionOnOneRank) {
  Job job(ranks(), {"throw", "1"});
  ExpectEnd(job, kSlack, {"thinwire: cannot read this test's data"});
}

TEST_P(MpiFault, TheSameExceptionOnAllRanks) {
  Job job(ranks(), {"throw", "-1"});
  const int status = job.Wait(kSlack);
  EXPECT_EQ(status, 2);
  EXPECT_EQ(Count(job.errors(), "thinwire: cannot read this test's data\n"), 1) << job.errors();
}

TEST_P(MpiFault, AMessageOfAnotherSize) {
  Job job(ranks(), {"sizes"});
  ExpectEnd(job, kSlack, {"all-to-all at step 0", "bytes", "run the same program"});
}

TEST_P(MpiFault, AnotherCollective) {
  Job job(ranks(), {"calls"});
  ExpectEnd(job, kSlack, {" at step 0", "is for another collective"});
}

TEST_P(MpiFault, ARankThatLeavesEarly) {
  Job job(ranks(), {"leave"});
  ExpectEnd(job, kSlack, {"barrier at step 0", "rank 1 on " + HostName(), "has ended"});
}

TEST_P(MpiFault, ASlowRankThatSaysSoIsAwaited) {
  Job job(ranks(), {"slow"});
  EXPECT_EQ(job.Wait(6 + kSlack), 0);
  EXPECT_EQ(job.errors(), "");
}

INSTANTIATE_TEST_SUITE_P(Ranks, MpiFault, ::testing::Values(2, 4),
                         [](const auto& info) { return std::to_string(info.param); });

}  // namespace
}  // namespace thinwire
