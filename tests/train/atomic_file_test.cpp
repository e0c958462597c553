#include "train/atomic_file.h"

#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <functional>

#include "tests/train/temporary_folder.h"
#include "train/append_file.h"

namespace thinwire {
namespace {

std::vector<std::byte> Bytes(size_t size) {
  std::vector<std::byte> bytes(size);
  for (size_t i = 0; i < size; ++i) bytes[i] = static_cast<std::byte>(i * 31 + (i >> 8));
  return bytes;
}

/// Runs `work` in a child process after `prepare`, and returns the message of the Error that it
/// throws, "no error", or nothing if `prepare` fails.
std::string MessageInChild(const std::function<bool()>& prepare,
                           const std::function<void()>& work) {
  int ends[2];
  if (::pipe(ends) != 0) return "no pipe";
  const pid_t child = ::fork();
  if (child == 0) {
    std::string message;
    if (prepare()) {
      message = "no error";
      try {
        work();
      } catch (const Error& error) {
        message = error.what();
      }
    }
    const ssize_t written = ::write(ends[1], message.data(), message.size());
    ::_exit(written < 0);
  }
  ::close(ends[1]);
  std::string message;
  char buffer[512];
  for (ssize_t n; (n = ::read(ends[0], buffer, sizeof(buffer))) > 0;) {
    message.append(buffer, static_cast<size_t>(n));
  }
  ::close(ends[0]);
  ::waitpid(child, nullptr, 0);
  return message;
}

/// Where files cannot grow beyond `limit` bytes, which needs no privileges.
std::string MessageUnderFileLimit(rlim_t limit, const std::function<void()>& work) {
  const auto prepare = [limit] {
    std::signal(SIGXFSZ, SIG_IGN);
    const rlimit limits{limit, limit};
    return ::setrlimit(RLIMIT_FSIZE, &limits) == 0;
  };
  return MessageInChild(prepare, work);
}

/// With a disk of 64 KiB at `folder`, in name spaces of the child's own.
std::string MessageOnSmallDisk(const std::string& folder, const std::function<void()>& work) {
  const auto prepare = [&folder] {
    return (::unshare(CLONE_NEWNS) == 0 || ::unshare(CLONE_NEWUSER | CLONE_NEWNS) == 0) &&
           ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
           ::mount("tmpfs", folder.c_str(), "tmpfs", 0, "size=64k") == 0;
  };
  return MessageInChild(prepare, work);
}

TEST(AtomicFile, RoundTripsAllSizes) {
  const TemporaryFolder folder;
  for (const size_t size : {0u, 1u, 31u, 32u, 33u, 127u, 1000003u}) {
    const std::vector<std::byte> bytes = Bytes(size);
    WriteFileAtomically(folder / "file", bytes);
    EXPECT_EQ(ReadFile(folder / "file"), bytes) << size;
  }
  EXPECT_EQ(folder.names(), std::vector<std::string>{"file"});
}

TEST(AtomicFile, PiecesFollowEachOther) {
  const TemporaryFolder folder;
  const std::vector<std::byte> bytes = Bytes(1000);
  AtomicFile file(folder / "file", 1000);
  file.Write(std::span(bytes).first(1));
  file.Write({});
  file.Write(std::span(bytes).subspan(1));
  EXPECT_FALSE(std::filesystem::exists(folder / "file"));
  file.Commit();
  EXPECT_EQ(ReadFile(folder / "file"), bytes);
}

TEST(AtomicFile, WithoutCommitNothingChanges) {
  const TemporaryFolder folder;
  WriteText(folder / "file", "old");
  {
    AtomicFile file(folder / "file", 1000);
    file.Write(Bytes(1000));
  }
  EXPECT_EQ(ReadText(folder / "file"), "old");
  EXPECT_EQ(folder.names(), std::vector<std::string>{"file"});
}

TEST(AtomicFile, OverwritesWhatAKilledProcessLeft) {
  const TemporaryFolder folder;
  WriteText(folder / "file.part", std::string(10000, 'x'));
  WriteFileAtomically(folder / "file", Bytes(5));
  EXPECT_EQ(ReadFile(folder / "file"), Bytes(5));
  EXPECT_EQ(folder.names(), std::vector<std::string>{"file"});
}

TEST(AtomicFile, FullDiskSaysHowMuchIsNeeded) {
  const TemporaryFolder folder;
  const std::string message = MessageOnSmallDisk(folder.path(), [&] {
    WriteText(folder / "file", "old");
    try {
      WriteFileAtomically(folder / "file", Bytes(100000));
    } catch (const Error&) {
      if (ReadText(folder / "file") != "old") throw Error("the old file has changed", "");
      if (folder.names().size() != 1) throw Error("a temporary file is left", "");
      throw;
    }
  });
  if (message.empty()) GTEST_SKIP() << "a small disk cannot be mounted here";
  // The old file takes one page of the sixteen, the new one the rest.
  EXPECT_NE(message.find("the disk is full"), std::string::npos) << message;
  EXPECT_NE(message.find(std::to_string(100000 - 15 * 4096) + " bytes more"), std::string::npos)
      << message;
}

TEST(AtomicFile, LimitedSizeLeavesTheOldFile) {
  const TemporaryFolder folder;
  WriteText(folder / "file", "old");
  const std::string message =
      MessageUnderFileLimit(5000, [&] { WriteFileAtomically(folder / "file", Bytes(1000000)); });
  EXPECT_NE(message.find("cannot write " + folder / "file"), std::string::npos) << message;
  EXPECT_NE(message.find("ulimit -f"), std::string::npos) << message;
  EXPECT_EQ(ReadText(folder / "file"), "old");
  EXPECT_EQ(folder.names(), std::vector<std::string>{"file"});
}

TEST(AtomicFile, SmallEnoughFileFitsUnderTheLimit) {
  const TemporaryFolder folder;
  EXPECT_EQ(MessageUnderFileLimit(5000, [&] { WriteFileAtomically(folder / "file", Bytes(5000)); }),
            "no error");
  EXPECT_EQ(ReadFile(folder / "file"), Bytes(5000));
}

TEST(AtomicFile, FolderThatIsNone) {
  const TemporaryFolder folder;
  WriteText(folder / "plain", "old");
  EXPECT_ERROR(WriteFileAtomically(folder / "plain/file", Bytes(5)),
               "a part of the path is a file");
  EXPECT_EQ(ReadText(folder / "plain"), "old");
  EXPECT_ERROR(WriteFileAtomically(folder / "none/file", Bytes(5)), "No such file");
}

TEST(AtomicFile, FolderThatCannotBeWritten) {
  if (::geteuid() == 0) GTEST_SKIP() << "root may write everywhere";
  const TemporaryFolder folder;
  WriteText(folder / "plain", "old");
  ::chmod(folder.path().c_str(), 0500);
  EXPECT_ERROR(WriteFileAtomically(folder / "plain", Bytes(5)), "check the permissions");
  ::chmod(folder.path().c_str(), 0700);
  EXPECT_EQ(ReadText(folder / "plain"), "old");
}

TEST(AtomicFile, FolderAtThePath) {
  const TemporaryFolder folder;
  std::filesystem::create_directories(folder / "file/inner");
  EXPECT_ERROR(WriteFileAtomically(folder / "file", Bytes(5)), "not of a folder");
  EXPECT_TRUE(std::filesystem::is_directory(folder / "file/inner"));
  EXPECT_EQ(folder.names(), std::vector<std::string>{"file"});
}

TEST(ReadFile, SaysWhatIsWrong) {
  const TemporaryFolder folder;
  EXPECT_ERROR(ReadFile(folder / "none"), "cannot read " + folder / "none" + ": No such file");
  EXPECT_ERROR(ReadFile(folder.path()), "not of a folder");
  ASSERT_EQ(::mkfifo((folder / "pipe").c_str(), 0600), 0);
  EXPECT_ERROR(ReadFile(folder / "pipe"), "a pipe or a device");
  WriteText(folder / "file", "12345");
  EXPECT_EQ(ReadFile(folder / "file", 5).size(), 5u);
  EXPECT_ERROR(ReadFile(folder / "file", 4), "5 bytes, more than the 4");
}

TEST(AppendFile, TreatsAnOlderFileAsAsked) {
  const TemporaryFolder folder;
  WriteText(folder / "file", "old ");
  AppendFile(folder / "file", AppendFile::Existing::kAppend).Append("new");
  EXPECT_EQ(ReadText(folder / "file"), "old new");
  EXPECT_ERROR(AppendFile(folder / "file", AppendFile::Existing::kRefuse), "exists");
  EXPECT_EQ(ReadText(folder / "file"), "old new");
  AppendFile file(folder / "file", AppendFile::Existing::kEmpty);
  AppendFile moved(std::move(file));
  moved.Append("a");
  moved.Append("b");
  EXPECT_EQ(ReadText(folder / "file"), "ab");
}

TEST(AppendFile, FullDisk) {
  const std::string message = MessageUnderFileLimit(10, [] {
    const TemporaryFolder folder;
    AppendFile file(folder / "file", AppendFile::Existing::kEmpty);
    file.Append("0123456789");
    file.Append("x");
  });
  EXPECT_NE(message.find("ulimit -f"), std::string::npos) << message;
  if (std::filesystem::exists("/dev/full")) {
    AppendFile full("/dev/full", AppendFile::Existing::kAppend);
    EXPECT_ERROR(full.Append("x"), "the disk is full");
  }
}

}  // namespace
}  // namespace thinwire
