#include "datasets/idx.h"

#include <fmt/format.h>

#include <array>
#include <utility>

#include "datasets/byte_reader.h"
#include "datasets/data_files.h"
#include "kernels/error.h"

namespace thinwire {
namespace {

constexpr int64_t kMaxFileBytes = int64_t{1} << 30;
constexpr int64_t kMaxElements = int64_t{1} << 32;
constexpr int64_t kMaxImageSide = 4096;
constexpr uint8_t kUnsignedByte = 8;
constexpr int64_t kMnistClasses = 10;

[[noreturn]] void Fail(const std::string& name, const std::string& problem,
                       const std::string& remedy) {
  throw Error(fmt::format("cannot read the idx file {}: {}", name, problem), remedy);
}

}  // namespace

IdxArray ParseIdx(std::span<const uint8_t> bytes, const std::string& name, int dimensions) {
  const std::string download = "download it again";
  ByteReader reader(bytes, name);
  const auto read_word = [&] {
    std::array<uint8_t, 4> word{};
    if (reader.Read(word) != 4) Fail(name, "it ends within its header", download);
    return word;
  };

  const std::array<uint8_t, 4> magic = read_word();
  if (magic[0] != 0 || magic[1] != 0 || magic[2] != kUnsignedByte) {
    Fail(name,
         fmt::format("it begins with {:02x} {:02x} {:02x} {:02x} instead of 00 00 08 {:02x}",
                     magic[0], magic[1], magic[2], magic[3], dimensions),
         "name a file of MNIST's format");
  }
  if (magic[3] != dimensions) {
    Fail(name, fmt::format("its array has {} dimensions instead of {}", int{magic[3]}, dimensions),
         "name the images' file (3 dimensions) first and the labels' file (1) second");
  }

  IdxArray array;
  int64_t elements = 1;
  for (int i = 0; i < dimensions; ++i) {
    int64_t size = 0;
    for (const uint8_t byte : read_word()) size = size << 8 | byte;
    if (size == 0) Fail(name, fmt::format("its dimension {} is 0", i), download);
    if (size > kMaxElements / elements) {
      Fail(name, "its header asks for more than 2^32 elements", download);
    }
    array.dimensions.push_back(size);
    elements *= size;
  }
  if (elements > reader.max_remaining()) {
    Fail(name,
         fmt::format("it is truncated: its header announces {} elements, and at most {} follow",
                     elements, reader.max_remaining()),
         download);
  }
  array.values.resize(static_cast<size_t>(elements));
  const int64_t found = reader.Read(array.values);
  if (found != elements) {
    Fail(name,
         fmt::format("it is truncated: its header announces {} elements, and {} follow", elements,
                     found),
         download);
  }
  uint8_t behind = 0;
  if (reader.Read({&behind, 1}) != 0) {
    Fail(name, fmt::format("more follows the {} elements that its header announces", elements),
         download);
  }
  return array;
}

Dataset CombineIdx(IdxArray images, const IdxArray& labels, const std::string& images_name,
                   const std::string& labels_name, int64_t classes) {
  const int64_t count = images.dimensions.at(0), height = images.dimensions.at(1),
                width = images.dimensions.at(2);
  if (height > kMaxImageSide || width > kMaxImageSide) {
    Fail(images_name,
         fmt::format("its images of {}x{} are larger than {} pixels a side", height, width,
                     kMaxImageSide),
         "download it again");
  }
  if (count != labels.dimensions.at(0)) {
    Fail(labels_name,
         fmt::format("it has {} labels for the {} images of {}", labels.dimensions[0], count,
                     images_name),
         "name two files of the same split");
  }
  Dataset dataset{.name = "mnist",
                  .count = count,
                  .height = height,
                  .width = width,
                  .channels = 1,
                  .classes = classes,
                  .images = std::move(images.values),
                  .labels = {labels.values.begin(), labels.values.end()}};
  for (int64_t i = 0; i < count; ++i) {
    const int32_t label = dataset.labels[static_cast<size_t>(i)];
    if (label >= classes) {
      Fail(labels_name, fmt::format("label {} is {}, and there are {} classes", i, label, classes),
           "download it again");
    }
  }
  return dataset;
}

Dataset LoadMnist(const std::string& data_dir, const std::vector<std::string>& files, Split split) {
  std::string images, labels;
  if (files.empty()) {
    const std::string prefix = split == Split::kTrain ? "train" : "t10k";
    const auto find = [&](const std::string& what, const std::string& type) {
      const std::string usual = prefix + "-" + what + "-" + type;
      const std::string with_dot = prefix + "-" + what + "." + type;
      return FindDataFile(data_dir, {usual, usual + ".gz", with_dot, with_dot + ".gz"});
    };
    images = find("images", "idx3-ubyte");
    labels = find("labels", "idx1-ubyte");
  } else if (files.size() == 2) {
    images = PathInDataDir(data_dir, files[0]);
    labels = PathInDataDir(data_dir, files[1]);
  } else {
    throw Error(fmt::format("cannot read mnist from {} files", files.size()),
                "name two: the images' file, then the labels' file", Error::Kind::kUsage);
  }
  IdxArray pixels = ParseIdx(ReadDataFile(images, kMaxFileBytes), images, 3);
  const IdxArray classes = ParseIdx(ReadDataFile(labels, kMaxFileBytes), labels, 1);
  return CombineIdx(std::move(pixels), classes, images, labels, kMnistClasses);
}

}  // namespace thinwire
