#include "datasets/packed_dataset.h"

#include <fmt/format.h>

#include <utility>
#include <vector>

#include "kernels/error.h"

namespace thinwire {
namespace {

constexpr int64_t kChannels = 3;  // of decoded images

/// Some of a packed file's images, in the order of the file.
class PackedPart final : public EncodedImages {
 public:
  PackedPart(std::shared_ptr<const PackedImages> images, std::vector<uint32_t> indices)
      : images_(std::move(images)), indices_(std::move(indices)) {}

  int64_t count() const override { return std::ssize(indices_); }
  std::string name(int64_t index) const override {
    return fmt::format("{} in {}", images_->Describe(IndexOf(index)).name, images_->name());
  }
  std::span<const uint8_t> Read(int64_t index, std::vector<uint8_t>&) const override {
    const auto bytes = images_->Read(IndexOf(index)).bytes;
    return {reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()};
  }

 private:
  int64_t IndexOf(int64_t index) const { return indices_[static_cast<size_t>(index)]; }

  std::shared_ptr<const PackedImages> images_;
  std::vector<uint32_t> indices_;
};

/// Takes the pixels of images of one size into memory.
void TakePixels(const PackedImages& images, const std::vector<uint32_t>& indices,
                Dataset& dataset) {
  for (const uint32_t index : indices) {
    const PackedImages::Image image = images.Read(index);
    if (image.height != dataset.height || image.width != dataset.width ||
        image.channels != dataset.channels) {
      throw Error(
          fmt::format("cannot use the packed data set {}: image {} is not of {}x{}x{} "
                      "bare pixels as others are",
                      images.name(), image.name, dataset.height, dataset.width, dataset.channels),
          "pack the data set again with thinwire prepare");
    }
    const auto* const pixels = reinterpret_cast<const uint8_t*>(image.bytes.data());
    dataset.images.insert(dataset.images.end(), pixels, pixels + image.bytes.size());
  }
}

}  // namespace

Dataset MakePackedDataset(std::shared_ptr<const PackedImages> images, const ImageOptions& options,
                          Split split) {
  Dataset dataset{.name = std::string(images->kind()), .classes = std::ssize(images->classes())};
  std::vector<uint32_t> indices;
  bool bare = true;
  for (int64_t i = 0; i < images->count(); ++i) {
    const PackedImages::Image image = images->Describe(i);
    if (!BelongsTo(image.split, split)) continue;
    if (indices.empty()) {
      dataset.height = image.height;
      dataset.width = image.width;
      dataset.channels = image.channels;
      bare = image.channels != 0;
    }
    if (!bare && image.channels != 0) {
      throw Error(fmt::format("cannot use the packed data set {}: image {} is bare pixels, and "
                              "others are not",
                              images->name(), image.name),
                  "pack the data set again with thinwire prepare");
    }
    indices.push_back(static_cast<uint32_t>(i));
    dataset.labels.push_back(image.label);
  }
  dataset.count = std::ssize(indices);
  if (dataset.count == 0) {
    throw Error(fmt::format("the packed data set {} has no {} images", images->name(),
                            split == Split::kTrain ? "training" : "test"),
                "pack a data set that has both");
  }
  for (const PackedImages::LeftOut& left_out : images->left_out()) {
    if (BelongsTo(left_out.split, split)) dataset.left_out.emplace_back(left_out.reason);
  }
  if (bare) {
    TakePixels(*images, indices, dataset);
    return dataset;
  }
  dataset.height = dataset.width = options.size;
  dataset.channels = kChannels;
  dataset.class_names.assign(images->classes().begin(), images->classes().end());
  dataset.image_options = options;
  dataset.encoded = std::make_shared<PackedPart>(std::move(images), std::move(indices));
  return dataset;
}

Dataset LoadPacked(const std::string& path, const ImageOptions& options, Split split) {
  return MakePackedDataset(std::make_shared<const PackedImages>(path), options, split);
}

std::string PackedKind(const std::string& path) { return PackedImages::KindOf(path); }

}  // namespace thinwire
