// thinwire prepare --download, against a web server of this machine.
#include "train/download.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <optional>
#include <thread>

#include "datasets/cifar.h"
#include "tests/train/download_testing.h"
#include "tests/train/run_fixture.h"
#include "train/dataset_download.h"

namespace thinwire {
namespace {

namespace fs = std::filesystem;

class DownloadTest : public RunTest {
 protected:
  void SetUp() override {
    if (!HasDownloads()) GTEST_SKIP() << "this build has no downloads";
    if (Program(Program::Command{{"python3", "--version"}}).Wait().status != 0) {
      GTEST_SKIP() << "there is no python3, whose web server this needs";
    }
    setenv("no_proxy", "*", 1);
    fs::create_directory(served());
    server_.emplace(
        Program::Command{{"python3", THINWIRE_SOURCE_DIR "/tests/train/http_server.py", served()}});
    for (int i = 0; i < 2000 && server_->output().find('\n') == std::string::npos; ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    port_ = server_->output();
    ASSERT_NE(port_, "") << "the server does not start";
    port_.pop_back();
  }

  std::string served() const { return folder_.path() + "/served"; }
  std::string url(const std::string& path) const {
    return "http://127.0.0.1:" + port_ + "/" + path;
  }
  std::string path() const { return folder_.path() + "/file"; }
  /// What the server was asked since the last call.
  std::string TakeRequests() {
    const std::string log = served() + "/requests.log", text = ReadText(log);
    fs::remove(log);
    return text;
  }

  /// A file of the server, and what is published about it.
  PublishedFile Serve(const std::string& name, const std::string& content) const {
    WriteText(served() + "/" + name, content);
    return {.name = name, .bytes = std::ssize(content), .md5 = Md5OfFile(served() + "/" + name)};
  }
  DownloadRequest Request(const std::string& how, const PublishedFile& file) const {
    return {
        .url = url(how + "/" + file.name), .path = path(), .bytes = file.bytes, .md5 = file.md5};
  }

  std::optional<Program> server_;
  std::string port_;
};

TEST_F(DownloadTest, TakesChecksums) {
  WriteText(folder_ / "abc", "abc");
  EXPECT_EQ(Md5OfFile(folder_ / "abc"), "900150983cd24fb0d6963f7d28e17f72");
  WriteText(folder_ / "empty", "");
  EXPECT_EQ(Md5OfFile(folder_ / "empty"), "d41d8cd98f00b204e9800998ecf8427e");
  WriteText(folder_ / "long", std::string(3 << 20, 'a'));
  WriteText(folder_ / "other", std::string((3 << 20) - 1, 'a') + "b");
  EXPECT_NE(Md5OfFile(folder_ / "long"), Md5OfFile(folder_ / "other"));
}

TEST_F(DownloadTest, FetchesAWholeFile) {
  const std::string content = RandomBytes(300'001, 1);
  const PublishedFile file = Serve("file", content);
  for (const char* how : {"ok", "away", "whole"}) {
    Download(Request(how, file));
    EXPECT_EQ(ReadText(path()), content) << how;
    EXPECT_FALSE(fs::exists(path() + ".part"));
    fs::remove(path());
  }
}

TEST_F(DownloadTest, GoesOnWhereATransferBrokeOff) {
  const std::string content = RandomBytes(300'001, 2);
  const PublishedFile file = Serve("file", content);
  WriteText(path() + ".part", content.substr(0, 100'000));
  Download(Request("ok", file));
  EXPECT_EQ(ReadText(path()), content);
  EXPECT_EQ(TakeRequests(), "/ok/file bytes=100000-\n");

  // A server without ranges gives it all again.
  WriteText(path() + ".part", content.substr(0, 100'000));
  Download(Request("whole", file));
  EXPECT_EQ(ReadText(path()), content);

  // Half of the rest each time is too little for one call, and the next one ends it.
  TakeRequests();
  EXPECT_ERROR(Download(Request("half", file)), "breaks off after 299709 of 300001 bytes");
  EXPECT_EQ(fs::file_size(path() + ".part"), 299'709u);
  const std::string requests = TakeRequests();
  EXPECT_EQ(std::count(requests.begin(), requests.end(), '\n'), 10) << requests;
  EXPECT_NE(requests.find("bytes=150001-\n/half/file bytes=225001-"), std::string::npos);
  Download(Request("ok", file));
  EXPECT_EQ(TakeRequests(), "/ok/file bytes=299709-\n");
  EXPECT_EQ(ReadText(path()), content);
}

TEST_F(DownloadTest, NothingComes) {
  const std::string content = RandomBytes(5000, 3);
  const PublishedFile file = Serve("file", content);
  WriteText(path() + ".part", content.substr(0, 100));
  fs::remove(path());
  EXPECT_ERROR(Download(Request("none", file)), "/none/file");
  EXPECT_EQ(ReadText(path() + ".part"), content.substr(0, 100));  // is kept
  EXPECT_FALSE(fs::exists(path()));
}

TEST_F(DownloadTest, WrongBytesAreThrownAway) {
  const PublishedFile file = Serve("file", RandomBytes(300'001, 4));
  const auto fails = [&](const DownloadRequest& request, const std::string& problem) {
    EXPECT_ERROR(Download(request), problem);
    EXPECT_FALSE(fs::exists(path()));
    EXPECT_FALSE(fs::exists(path() + ".part"));
  };
  fails(Request("wrong", file), "MD5 checksum");
  WriteText(path() + ".part", std::string(1000, 'x'));  // of another file
  fails(Request("ok", file), "MD5 checksum");
  WriteText(path() + ".part", std::string(400'000, 'x'));
  Download(Request("ok", file));
  fs::remove(path());
  DownloadRequest request = Request("ok", file);
  request.bytes -= 1;
  fails(request, "more than 300000 bytes");
  request.bytes += 2;
  fails(request, "300001 bytes instead of 300002");
}

TEST_F(DownloadTest, PlacesThatAreNone) {
  const PublishedFile file = Serve("file", "content");
  EXPECT_ERROR(Download(Request("nowhere", file)), "404");
  EXPECT_ERROR(Download(Request("file", file)), "/file/file");  // leads to a local file
  DownloadRequest request = Request("ok", file);
  request.url = "file:///etc/hostname";
  EXPECT_ERROR(Download(request), "file:///etc/hostname");
  request.url = "http://127.0.0.1:1/file";
  EXPECT_ERROR(Download(request), "check the network");
  request = Request("ok", file);
  request.path = folder_ / "nowhere/file";
  EXPECT_ERROR(Download(request), "nowhere/file.part");
  EXPECT_FALSE(fs::exists(path()));
}

/// A file as CIFAR-10's.
std::string CifarFile(int images, uint64_t seed) {
  std::string bytes = RandomBytes(images * 3073, seed);
  for (int i = 0; i < images; ++i) bytes[static_cast<size_t>(i) * 3073] = static_cast<char>(i % 10);
  return bytes;
}

TEST_F(DownloadTest, BringsADataSet) {
  std::map<std::string, std::string> files;
  TarWriter tar;
  const std::vector<std::string> members = SourceOfDataset("cifar10").files.at(0).members;
  for (const std::string& name : members) {
    files[name] = CifarFile(4, files.size());
    tar.Add(name, files[name]);
  }
  PublishedFile archive = Serve("cifar.tar.gz", tar.Finish());
  archive.members = members;
  const DatasetSource source = {url("ok"), {archive, Serve("labels.gz", "labels")}};
  const std::string folder = folder_ / "new/cifar";
  std::string report;
  const auto bring = [&] {
    report.clear();
    DownloadDataset(source, folder, [&](const std::string& line) { report += line + "\n"; });
  };
  bring();
  EXPECT_NE(report.find("Downloading " + url("ok/cifar.tar.gz")), std::string::npos) << report;
  for (const auto& [name, content] : files) EXPECT_EQ(ReadText(folder + "/" + name), content);
  EXPECT_EQ(ReadText(folder + "/labels.gz"), "labels");
  EXPECT_FALSE(fs::exists(folder + "/cifar.tar.gz"));
  const Dataset dataset = LoadCifar(folder, {}, CifarKind::kCifar10, Split::kTrain);
  EXPECT_EQ(dataset.count, 20);

  TakeRequests();
  bring();  // all is there
  EXPECT_EQ(report, "");
  EXPECT_EQ(TakeRequests(), "");
  fs::remove(folder + "/" + members.at(2));  // as after a kill
  bring();
  EXPECT_EQ(TakeRequests(), "/ok/cifar.tar.gz -\n");
  EXPECT_EQ(ReadText(folder + "/" + members.at(2)), files[members.at(2)]);
  WriteText(folder + "/labels.gz", "others");
  EXPECT_ERROR(bring(), "labels.gz is not the file that is published");
}

TEST_F(DownloadTest, TheProgramSaysWhatIsWrong) {
  // As large as MNIST's first file, which nobody has to have.
  const PublishedFile file = SourceOfDataset("mnist").files.at(0);
  WriteText(served() + "/" + file.name, RandomBytes(file.bytes, 5));
  const auto command = [&](const std::string& base) -> Arguments {
    return {"prepare",    "mnist", folder_ / "mnist", folder_ / "packed", "--download",
            "--base-url", base};
  };
  const std::string part = folder_ / ("mnist/" + file.name + ".part");
  ExpectFailure(RunProgram(command(url("nowhere/"))), 1, {file.name, "404", "--base-url"});
  ExpectFailure(RunProgram(command("http://127.0.0.1:1")), 1, {"127.0.0.1:1", "check the network"});
  ExpectFailure(RunProgram(command(url("ok")), /*file_size_limit=*/100'000), 1, {part});
  EXPECT_EQ(fs::file_size(part), 100'000u);
  // Killed, and called again.
  {
    Program program(command(url("slow")));
    std::error_code missing;
    for (int i = 0; i < 1000 && fs::file_size(part, missing) < 150'000; ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    program.Signal(SIGKILL);
    program.Wait();
  }
  const auto size = fs::file_size(part);
  EXPECT_GE(size, 150'000u);
  TakeRequests();
  ExpectFailure(RunProgram(command(url("ok"))), 1, {"MD5 checksum", file.md5});
  EXPECT_EQ(TakeRequests(), "/ok/" + file.name + " bytes=" + std::to_string(size) + "-\n");
  EXPECT_FALSE(fs::exists(part));
  EXPECT_FALSE(fs::exists(folder_ / "packed"));
  ExpectFailure(RunProgram({"prepare", "imagenet", folder_.path(), folder_ / "x", "--download"}), 2,
                {"imagenet", "--download"});
  ExpectFailure(RunProgram({"prepare", "mnist", folder_.path(), folder_ / "x", "--base-url", "x"}),
                2, {"--base-url", "--download"});
}

}  // namespace
}  // namespace thinwire
