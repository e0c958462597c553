// Helpers of the data set tests.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <initializer_list>
#include <span>
#include <string>
#include <vector>

#include "kernels/error.h"

namespace thinwire {

/// A folder of its own for each test, removed at the end.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "thinwire-XXXXXX").string();
    if (mkdtemp(pattern.data()) == nullptr) ADD_FAILURE() << "no temporary folder " << pattern;
    path_ = pattern;
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  std::string path() const { return path_.string(); }
  /// Writes a file, with the folders on the way to it.
  std::string Write(const std::string& name, std::span<const uint8_t> bytes) const {
    const std::filesystem::path file = path_ / name;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file, std::ios::binary)
        .write(reinterpret_cast<const char*>(bytes.data()), std::ssize(bytes));
    return file.string();
  }

 private:
  std::filesystem::path path_;
};

/// Checks that `function` throws an Error whose message has all of `parts`.
template <typename Function>
void ExpectError(const Function& function, std::initializer_list<std::string> parts,
                 Error::Kind kind = Error::Kind::kFailure) {
  try {
    function();
  } catch (const Error& error) {
    for (const std::string& part : parts) {
      EXPECT_NE(std::string(error.what()).find(part), std::string::npos)
          << "'" << part << "' is not in: " << error.what();
    }
    EXPECT_EQ(error.kind(), kind) << error.what();
    return;
  }
  ADD_FAILURE() << "no error; expected one with '" << *parts.begin() << "'";
}

}  // namespace thinwire
