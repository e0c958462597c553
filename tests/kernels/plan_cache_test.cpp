// Choices that are kept in a file: what comes back, from whatever is found there.
#include "kernels/plan_cache.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>
#include <vector>

namespace thinwire {
namespace {

namespace fs = std::filesystem;

class PlanCacheTest : public ::testing::Test {
 protected:
  PlanCacheTest() {
    std::string name = fs::temp_directory_path() / "plan_cache_test.XXXXXX";
    folder_ = ::mkdtemp(name.data());
    path_ = folder_ / "thinwire/plans";
  }
  ~PlanCacheTest() override { fs::remove_all(folder_); }

  static std::string Text(const fs::path& path) {
    std::ostringstream text;
    text << std::ifstream(path, std::ios::binary).rdbuf();
    return text.str();
  }
  void Write(const std::string& text) const {
    fs::create_directories(path_.parent_path());
    std::ofstream(path_, std::ios::binary) << text;
  }

  /// What a cache gives for a key; `fresh` is what would be chosen anew.
  static std::string Choose(PlanCache& cache, const std::string& key, const std::string& fresh) {
    std::string chosen;
    cache.Choose(
        key,
        [&](const std::string& choice) {
          chosen = choice;
          return true;
        },
        [&] { return chosen = fresh; });
    return chosen;
  }
  std::string Choose(const std::string& key, const std::string& fresh) const {
    PlanCache cache(path_);
    return Choose(cache, key, fresh);
  }
  /// A file of three choices.
  std::string ThreeChoices() const {
    for (const char* key : {"a, b: c", "d", "e"}) Choose(key, std::string("of ") + key);
    return Text(path_);
  }

  fs::path folder_, path_;
};

TEST_F(PlanCacheTest, KeepsChoicesForLaterRuns) {
  EXPECT_EQ(Choose("a", "1"), "1");
  EXPECT_EQ(Choose("b", "2"), "2");
  const std::string text = Text(path_);
  EXPECT_EQ(Choose("a", "3"), "1");
  EXPECT_EQ(Choose("b", "3"), "2");
  EXPECT_EQ(Text(path_), text);
  EXPECT_EQ(Choose("A", "3"), "3") << "another key";
}

TEST_F(PlanCacheTest, ReplacesWhatIsNotAccepted) {
  EXPECT_EQ(Choose("a", "1"), "1");
  PlanCache cache(path_);
  cache.Choose(
      "a", [](const std::string& choice) { return choice != "1"; }, [] { return "2"; });
  EXPECT_EQ(Choose("a", "3"), "2");
}

TEST_F(PlanCacheTest, StoresNeitherNothingNorSeveralLines) {
  for (const char* choice : {"", "two\nlines", "a\ttab"}) {
    EXPECT_EQ(Choose("a", choice), choice);
    EXPECT_EQ(Choose("a", "fresh"), "fresh");
    fs::remove(path_);
  }
}

TEST_F(PlanCacheTest, LastsAsLongAsItsObjectWithoutAFile) {
  PlanCache cache("");
  EXPECT_EQ(Choose(cache, "a", "1"), "1");
  EXPECT_EQ(Choose(cache, "a", "2"), "1");
}

// Cut anywhere, and with any byte changed: choices are those that were stored, or made anew, and
// the file is whole afterwards.
TEST_F(PlanCacheTest, SurvivesDamage) {
  const std::string whole = ThreeChoices();
  std::vector<std::string> damaged = {"", "\n", "thinwire plans 2\n", std::string(1000, '\0'),
                                      "another program's file\n"};
  for (size_t size = 0; size < whole.size(); ++size) damaged.push_back(whole.substr(0, size));
  for (size_t at = 0; at < whole.size(); ++at) {
    damaged.push_back(whole);
    damaged.back()[at] = static_cast<char>(damaged.back()[at] ^ 1);
  }
  int kept = 0;
  for (const std::string& text : damaged) {
    Write(text);
    testing::internal::CaptureStderr();
    const std::string choice = Choose("d", "fresh");
    const std::string lines = testing::internal::GetCapturedStderr();
    EXPECT_TRUE(choice == "of d" || choice == "fresh") << choice;
    kept += choice == "of d";
    EXPECT_LE(std::count(lines.begin(), lines.end(), '\n'), 1) << lines;
    EXPECT_EQ(Choose("d", "again"), choice);
  }
  // Those that were cut between two lines, behind it.
  EXPECT_EQ(kept, 1);
}

// Two files' entries come together, whoever writes last.
TEST_F(PlanCacheTest, AddsToWhatOthersHaveStoredMeanwhile) {
  PlanCache first(path_), second(path_);
  EXPECT_EQ(Choose(first, "a", "1"), "1");
  EXPECT_EQ(Choose(second, "b", "2"), "2");
  EXPECT_EQ(Choose(second, "a", "3"), "1") << "the first has chosen it";
  EXPECT_EQ(Choose("b", "3"), "2");
}

// As ranks of one process do, and of several: each choice is made once, and all take it.
TEST_F(PlanCacheTest, LetsOneChooseForAll) {
  constexpr int kThreads = 4, kKeys = 25;
  std::atomic<int> made = 0;
  std::vector<std::vector<std::string>> choices(kThreads);
  std::vector<std::thread> threads;
  for (int thread = 0; thread < kThreads; ++thread) {
    threads.emplace_back([&, thread] {
      PlanCache cache(path_);
      for (int key = 0; key < kKeys; ++key) {
        std::string& chosen = choices[static_cast<size_t>(thread)].emplace_back();
        cache.Choose(
            std::to_string(key),
            [&](const std::string& choice) {
              chosen = choice;
              return true;
            },
            [&] { return chosen = std::to_string(++made); });
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(made, kKeys);
  for (const auto& of_thread : choices) EXPECT_EQ(of_thread, choices[0]);
}

TEST_F(PlanCacheTest, GoesOnWithoutAFileThatItCannotUse) {
  fs::create_directories(path_);
  testing::internal::CaptureStderr();
  PlanCache cache(path_);
  EXPECT_NE(testing::internal::GetCapturedStderr().find("cannot read the plan cache"),
            std::string::npos);
  EXPECT_EQ(Choose(cache, "a", "1"), "1");
  EXPECT_EQ(Choose(cache, "a", "2"), "1");
  EXPECT_TRUE(fs::is_directory(path_));
}

TEST_F(PlanCacheTest, IsInTheUsersCacheFolder) {
  ::setenv("XDG_CACHE_HOME", "/cache", 1);
  EXPECT_EQ(PlanCache::DefaultPath(), "/cache/thinwire/plans");
  ::unsetenv("XDG_CACHE_HOME");
  const char* const home = std::getenv("HOME");
  const std::string before = home == nullptr ? "" : home;
  ::setenv("HOME", "/home/someone", 1);
  EXPECT_EQ(PlanCache::DefaultPath(), "/home/someone/.cache/thinwire/plans");
  ::unsetenv("HOME");
  EXPECT_EQ(PlanCache::DefaultPath(), "");
  if (home != nullptr) ::setenv("HOME", before.c_str(), 1);
}

}  // namespace
}  // namespace thinwire
