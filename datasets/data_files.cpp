#include "datasets/data_files.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <memory>

#include "kernels/error.h"

namespace thinwire {
namespace {

namespace fs = std::filesystem;

struct CloseFile {
  void operator()(std::FILE* file) const { std::fclose(file); }
};

}  // namespace

std::vector<uint8_t> ReadDataFile(const std::string& path, int64_t max_bytes) {
  const auto fail = [&](const std::string& problem, const std::string& remedy) {
    throw Error(fmt::format("cannot read the data file {}: {}", path, problem), remedy);
  };
  std::error_code code;
  const fs::file_status status = fs::status(path, code);
  if (status.type() == fs::file_type::not_found) fail("there is no such file", "check its name");
  if (status.type() == fs::file_type::directory) fail("it is a folder", "name a file");
  if (code) fail(code.message(), "check its permissions");

  const uintmax_t size = fs::file_size(path, code);
  if (code) fail(code.message(), "name a plain file that can be read");
  if (size == 0) fail("it is empty", "download it again");
  if (size > static_cast<uintmax_t>(max_bytes)) {
    fail(fmt::format("it holds {} bytes, and no file of this kind more than {}", size, max_bytes),
         "check its name");
  }

  const std::unique_ptr<std::FILE, CloseFile> file(std::fopen(path.c_str(), "rb"));
  if (!file) fail(std::strerror(errno), "check its permissions");
  std::vector<uint8_t> bytes(size);
  errno = 0;
  if (std::fread(bytes.data(), 1, bytes.size(), file.get()) != bytes.size()) {
    fail(errno != 0 ? std::strerror(errno) : "it became shorter meanwhile", "try again");
  }
  return bytes;
}

std::string PathInDataDir(const std::string& data_dir, const std::string& name) {
  return (fs::path(data_dir) / name).string();
}

std::string FindDataFile(const std::string& data_dir,
                         std::initializer_list<std::string_view> names) {
  std::error_code code;
  if (!fs::is_directory(data_dir, code)) {
    throw Error(fmt::format("the data folder '{}' is not there", data_dir),
                "name an existing folder with --data-dir", Error::Kind::kUsage);
  }
  for (const std::string_view name : names) {
    std::string path = PathInDataDir(data_dir, std::string(name));
    if (fs::exists(path, code)) return path;
  }
  throw Error(fmt::format("the data folder {} holds none of {}", data_dir, fmt::join(names, ", ")),
              "put the file there, or name other files with --train-files and --test-files");
}

}  // namespace thinwire
