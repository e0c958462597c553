#include "train/dataset_download.h"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <filesystem>

#include "kernels/error.h"
#include "train/download.h"

namespace thinwire {
namespace {

namespace fs = std::filesystem;

/// More than any of these archives unpacks to.
constexpr int64_t kMaxUnpackedBytes = int64_t{1} << 30;

const char* const kToronto = "https://www.cs.toronto.edu/~kriz/";

}  // namespace

DatasetSource SourceOfDataset(const std::string& dataset) {
  if (dataset == "cifar10") {
    PublishedFile archive{.name = "cifar-10-binary.tar.gz",
                          .bytes = 170'052'171,
                          .md5 = "c32a1d4ab5d03f1284b67883e8d87530"};
    for (int i = 1; i <= 5; ++i) {
      archive.members.push_back(fmt::format("cifar-10-batches-bin/data_batch_{}.bin", i));
    }
    archive.members.emplace_back("cifar-10-batches-bin/test_batch.bin");
    return {kToronto, {archive}};
  }
  if (dataset == "cifar100") {
    return {kToronto,
            {{.name = "cifar-100-binary.tar.gz",
              .bytes = 168'513'733,
              .md5 = "03b5dce01913d631647c71ecec9e9cb8",
              .members = {"cifar-100-binary/train.bin", "cifar-100-binary/test.bin"}}}};
  }
  assert(dataset == "mnist");
  return {"https://ossci-datasets.s3.amazonaws.com/mnist/",
          {{"train-images-idx3-ubyte.gz", 9'912'422, "f68b3c2dcbeaaa9fbdd348bbdeb94873"},
           {"train-labels-idx1-ubyte.gz", 28'881, "d53e105ee54ea40749a09fcbcd1e9432"},
           {"t10k-images-idx3-ubyte.gz", 1'648'877, "9fb629c4189551a2d022fa330f9573f3"},
           {"t10k-labels-idx1-ubyte.gz", 4'542, "ec29112dd5afa0611ce80d1b7f02629c"}}};
}

void DownloadDataset(const DatasetSource& source, const std::string& folder,
                     const std::function<void(const std::string& line)>& report) {
  std::error_code code;
  fs::create_directories(folder, code);
  if (code) {
    throw Error(fmt::format("cannot make the folder {}: {}", folder, code.message()),
                "name another folder", Error::Kind::kUsage);
  }
  const auto is_there = [&](const std::string& name) {
    std::error_code unknown;
    return fs::exists(fs::path(folder) / name, unknown);
  };
  const std::string separator = source.base_url.ends_with('/') ? "" : "/";
  for (const PublishedFile& file : source.files) {
    const bool archive = !file.members.empty();
    if (archive && std::all_of(file.members.begin(), file.members.end(), is_there)) continue;
    const std::string path = (fs::path(folder) / file.name).string();
    if (!is_there(file.name)) {
      const std::string url = source.base_url + separator + file.name;
      report(fmt::format("Downloading {}, {:.1f} MiB", url,
                         static_cast<double>(file.bytes) / (1 << 20)));
      Download({.url = url, .path = path, .bytes = file.bytes, .md5 = file.md5});
    } else if (Md5OfFile(path) != file.md5) {
      throw Error(fmt::format("{} is not the file that is published under this name", path),
                  "remove it, or leave --download out");
    }
    if (!archive) continue;
    ExtractFiles(path, folder, file.members, kMaxUnpackedBytes);
    fs::remove(path, code);  // its files are there
  }
}

}  // namespace thinwire
