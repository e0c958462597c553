#include "datasets/cifar.h"

#include <fmt/format.h>

#include "datasets/data_files.h"
#include "kernels/error.h"

namespace thinwire {
namespace {

constexpr int64_t kMaxFileBytes = int64_t{1} << 30;  // the real files end at 154 MB

const char* DisplayName(CifarKind kind) {
  return kind == CifarKind::kCifar10 ? "CIFAR-10" : "CIFAR-100";
}

/// Why a file's length is no multiple of the record, as far as one can tell.
std::string LengthRemedy(std::span<const uint8_t> bytes, CifarKind kind) {
  const CifarKind other = kind == CifarKind::kCifar10 ? CifarKind::kCifar100 : CifarKind::kCifar10;
  if (bytes.size() >= 2 && bytes[0] == 0x1f && bytes[1] == 0x8b) {
    return "it is compressed: unpack it with tar -xzf";
  }
  if (static_cast<int64_t>(bytes.size()) % CifarRecordBytes(other) == 0) {
    return fmt::format("it looks like a {} file: check --dataset", DisplayName(other));
  }
  return "download the binary version again";
}

}  // namespace

Dataset EmptyCifar(CifarKind kind) {
  return {.name = kind == CifarKind::kCifar10 ? "cifar10" : "cifar100",
          .height = kCifarSize,
          .width = kCifarSize,
          .channels = kCifarChannels,
          .classes = CifarClasses(kind)};
}

void ParseCifar(std::span<const uint8_t> bytes, const std::string& name, CifarKind kind,
                Dataset& dataset) {
  const auto size = static_cast<int64_t>(bytes.size());
  const int64_t record_bytes = CifarRecordBytes(kind);
  const int64_t records = size / record_bytes;
  if (size == 0 || size % record_bytes != 0) {
    throw Error(fmt::format("cannot read the {} file {}: its {} bytes are not a whole number of "
                            "records of {} bytes",
                            DisplayName(kind), name, size, record_bytes),
                LengthRemedy(bytes, kind));
  }
  const auto record = [&](int64_t i) { return bytes.data() + i * record_bytes; };
  const auto label = [&](int64_t i) {
    return static_cast<int32_t>(record(i)[record_bytes - kCifarPixelBytes - 1]);
  };
  for (int64_t i = 0; i < records; ++i) {
    if (label(i) >= dataset.classes) {
      throw Error(fmt::format("cannot read the {} file {}: record {} has label {}, and there are "
                              "{} classes",
                              DisplayName(kind), name, i, label(i), dataset.classes),
                  "check --dataset, or download the binary version again");
    }
  }

  dataset.labels.reserve(static_cast<size_t>(dataset.count + records));
  dataset.images.resize(static_cast<size_t>((dataset.count + records) * kCifarPixelBytes));
  uint8_t* pixel = dataset.images.data() + dataset.count * kCifarPixelBytes;
  constexpr int64_t kPlane = kCifarSize * kCifarSize;
  for (int64_t i = 0; i < records; ++i) {
    dataset.labels.push_back(label(i));
    const uint8_t* planes = record(i + 1) - kCifarPixelBytes;
    for (int64_t j = 0; j < kPlane; ++j, pixel += kCifarChannels) {
      for (int64_t c = 0; c < kCifarChannels; ++c) pixel[c] = planes[c * kPlane + j];
    }
  }
  dataset.count += records;
}

Dataset LoadCifar(const std::string& data_dir, const std::vector<std::string>& files,
                  CifarKind kind, Split split) {
  std::vector<std::string> paths;
  if (!files.empty()) {
    for (const std::string& file : files) paths.push_back(PathInDataDir(data_dir, file));
  } else {
    std::vector<std::string> names;
    if (split == Split::kTest) {
      names = {kind == CifarKind::kCifar10 ? "test_batch.bin" : "test.bin"};
    } else if (kind == CifarKind::kCifar100) {
      names = {"train.bin"};
    } else {
      for (int i = 1; i <= 5; ++i) names.push_back(fmt::format("data_batch_{}.bin", i));
    }
    const std::string folder =
        kind == CifarKind::kCifar10 ? "cifar-10-batches-bin/" : "cifar-100-binary/";
    for (const std::string& name : names) {
      paths.push_back(FindDataFile(data_dir, {name, folder + name}));
    }
  }

  Dataset dataset = EmptyCifar(kind);
  for (const std::string& path : paths) {
    ParseCifar(ReadDataFile(path, kMaxFileBytes), path, kind, dataset);
  }
  return dataset;
}

}  // namespace thinwire
