// What is taken out of archives, and what is refused.
#include <gtest/gtest.h>

#include <filesystem>

#include "tests/train/download_testing.h"
#include "tests/train/run_fixture.h"
#include "train/download.h"

namespace thinwire {
namespace {

namespace fs = std::filesystem;

class ExtractFilesTest : public RunTest {
 protected:
  void SetUp() override {
    if (!HasDownloads()) GTEST_SKIP() << "this build has no downloads";
  }
  void Extract(const std::string& archive, int64_t max_bytes = 1 << 20) {
    WriteText(folder_ / "archive", archive);
    ExtractFiles(folder_ / "archive", folder_ / "out", {"set/one", "set/two"}, max_bytes);
  }
};

TEST_F(ExtractFilesTest, TakesWhatIsWanted) {
  Extract(TarWriter()
              .Add("set/readme", "not this")
              .Add("./set/two", RandomBytes(3000, 1))
              .Add("set/one", "1")
              .Finish());
  EXPECT_EQ(ReadText(folder_ / "out/set/one"), "1");
  EXPECT_EQ(ReadText(folder_ / "out/set/two"), RandomBytes(3000, 1));
  EXPECT_FALSE(fs::exists(folder_ / "out/set/readme"));
}

TEST_F(ExtractFilesTest, RefusesWhatIsHostileOrDamaged) {
  const auto both = [] { return TarWriter().Add("set/one", "1").Add("set/two", "2"); };
  EXPECT_ERROR(Extract(both().Add("../evil", "x").Finish()), "leads out of the folder");
  EXPECT_ERROR(Extract(both().Add("set/../../evil", "x").Finish()), "leads out of the folder");
  EXPECT_ERROR(Extract(both().Add("/tmp/evil", "x").Finish()), "leads out of the folder");
  EXPECT_FALSE(fs::exists(folder_ / "evil"));
  EXPECT_ERROR(Extract(TarWriter().Add("set/one", "", '2', "/etc/hostname").Finish()),
               "no plain file");
  EXPECT_ERROR(Extract(TarWriter().Add("set/two", "", '1', "/etc/hostname").Finish()),
               "no plain file");
  EXPECT_ERROR(Extract(TarWriter().Add("set/one", "1").Finish()), "it lacks set/two");
  EXPECT_ERROR(Extract(both().Add("set/more", std::string(2000, 'x')).Finish(), 1000),
               "more than it should");
  EXPECT_ERROR(Extract("no archive"), "archive");
  EXPECT_ERROR(Extract(""), "archive");
  const std::string whole = TarWriter()
                                .Add("set/one", RandomBytes(5000, 1))
                                .Add("set/two", RandomBytes(5000, 2))
                                .Finish();
  fs::remove_all(folder_ / "out");
  EXPECT_ERROR(Extract(whole.substr(0, 8000)), "cannot unpack");
  EXPECT_FALSE(fs::exists(folder_ / "out/set/two"));
}

}  // namespace
}  // namespace thinwire
