#include "datasets/dataset.h"

#include <fmt/format.h>

#include "datasets/cifar.h"
#include "datasets/idx.h"
#include "datasets/image_folder.h"
#include "datasets/packed_dataset.h"
#include "datasets/shapes.h"
#include "kernels/error.h"
#include "kernels/text.h"

namespace thinwire {
namespace {

[[noreturn]] void FailUnknown(const std::string& name) {
  throw Error(fmt::format("there is no data set '{}'", name), SuggestName(name, DatasetNames()),
              Error::Kind::kUsage);
}

}  // namespace

std::vector<std::string> DatasetNames() {
  return {"shapes", "cifar10", "cifar100", "mnist", "image-folder", "packed"};
}

Dataset LoadDataset(const DatasetOptions& options, Split split) {
  if (options.name == "shapes") {
    const int64_t usual_count = split == Split::kTrain ? 10'000 : 2'000;
    return MakeShapes(options.seed, split, options.count == 0 ? usual_count : options.count);
  }
  if (options.name == "cifar10") {
    return LoadCifar(options.data_dir, options.files, CifarKind::kCifar10, split);
  }
  if (options.name == "cifar100") {
    return LoadCifar(options.data_dir, options.files, CifarKind::kCifar100, split);
  }
  if (options.name == "packed") return LoadPacked(options.data_dir, options.image, split);
  if (options.name == "mnist") return LoadMnist(options.data_dir, options.files, split);
  if (options.name == "image-folder") {
    return LoadImageFolder(options.data_dir, options.image, split);
  }
  FailUnknown(options.name);
}

Normalization DefaultNormalization(const std::string& dataset) {
  if (dataset == "shapes") return {{0.40f, 0.40f, 0.40f}, {0.23f, 0.23f, 0.23f}};
  if (dataset == "cifar10") return {{0.4914f, 0.4822f, 0.4465f}, {0.2470f, 0.2435f, 0.2616f}};
  if (dataset == "cifar100") return {{0.5071f, 0.4865f, 0.4409f}, {0.2673f, 0.2564f, 0.2762f}};
  if (dataset == "mnist") return {{0.1307f}, {0.3081f}};
  if (dataset == "image-folder") return {{0.485f, 0.456f, 0.406f}, {0.229f, 0.224f, 0.225f}};
  FailUnknown(dataset);
}

}  // namespace thinwire
