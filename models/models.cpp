#include "models/models.h"

#include <fmt/core.h>

#include <charconv>
#include <functional>
#include <optional>
#include <utility>

#include "kernels/error.h"
#include "kernels/text.h"
#include "models/families.h"

namespace thinwire {
namespace {

constexpr ImageShape kCifar{32, 32, 3}, kImageNet{224, 224, 3}, kMnist{28, 28, 1};

struct Family {
  ImageShape usual_image;
  /// Negative if the family has none.
  double usual_dropout = -1;
  std::function<LayerGraph(const ModelShape&, double dropout)> build;
};

using KnownModels = std::vector<std::pair<std::string, Family>>;

Family WideResNetFamily(int64_t depth, int64_t width) {
  return {kCifar, 0.0, [=](const ModelShape& shape, double dropout) {
            return WideResNet(shape, depth, width, dropout);
          }};
}

KnownModels AllModels(char shortcut) {
  KnownModels models;
  for (const int64_t depth : {20, 32, 44, 56, 110}) {
    models.push_back(
        {fmt::format("resnet{}", depth), {kCifar, -1, [=](const ModelShape& shape, double) {
                                            return ResNetCifar(shape, depth, shortcut);
                                          }}});
  }
  for (const bool cifar : {true, false}) {
    const ImageShape image = cifar ? kCifar : kImageNet;
    const std::string suffix = cifar ? "_cifar" : "";
    for (const int64_t depth : {18, 34, 50, 101, 152}) {
      models.push_back({fmt::format("resnet{}{}", depth, suffix),
                        {image, -1, [=](const ModelShape& shape, double) {
                           return ResNet(shape, depth, cifar);
                         }}});
    }
    for (const int64_t depth : {11, 13, 16, 19}) {
      // The small head has no dropout.
      models.push_back({fmt::format("vgg{}_bn{}", depth, suffix),
                        {image, cifar ? -1 : 0.5, [=](const ModelShape& shape, double dropout) {
                           return Vgg(shape, depth, cifar, dropout);
                         }}});
    }
  }
  for (const int64_t depth : {50, 101}) {
    models.push_back({fmt::format("wide_resnet{}_2", depth),
                      {kImageNet, -1, [=](const ModelShape& shape, double) {
                         return ResNet(shape, depth, false, 2);
                       }}});
  }
  for (const auto& [depth, width] : {std::pair{16, 4}, {16, 8}, {28, 10}, {40, 4}}) {
    models.push_back({fmt::format("wrn_{}_{}", depth, width), WideResNetFamily(depth, width)});
  }
  models.push_back(
      {"lenet", {kMnist, -1, [](const ModelShape& shape, double) { return LeNet(shape); }}});
  models.push_back(
      {"mlp", {kMnist, -1, [](const ModelShape& shape, double) { return Mlp(shape); }}});
  return models;
}

/// Reads "wrn_D_K"; nothing if `name` is not of that form.
std::optional<std::pair<int64_t, int64_t>> ParseWideResNet(const std::string& name) {
  constexpr std::string_view kPrefix = "wrn_";
  if (!name.starts_with(kPrefix)) return std::nullopt;
  const char* const end = name.data() + name.size();
  int64_t depth = 0, width = 0;
  const auto after_depth = std::from_chars(name.data() + kPrefix.size(), end, depth);
  if (after_depth.ec != std::errc() || after_depth.ptr == end || *after_depth.ptr != '_') {
    return std::nullopt;
  }
  const auto after_width = std::from_chars(after_depth.ptr + 1, end, width);
  if (after_width.ec != std::errc() || after_width.ptr != end) return std::nullopt;
  return std::pair{depth, width};
}

Family FindFamily(const std::string& name, char shortcut) {
  for (auto& [known, family] : AllModels(shortcut)) {
    if (known == name) return family;
  }
  if (const auto parsed = ParseWideResNet(name)) {
    constexpr int64_t kMaxDepth = 1000, kMaxWidth = 100;
    const auto& [depth, width] = *parsed;
    if (depth < 10 || depth > kMaxDepth || depth % 6 != 4 || width < 1 || width > kMaxWidth) {
      throw Error(fmt::format("there is no WideResNet {}", name),
                  fmt::format("wrn_D_K needs D = 10, 16, 22, 28, … up to {} and K = 1 … {}",
                              kMaxDepth, kMaxWidth),
                  Error::Kind::kUsage);
    }
    return WideResNetFamily(depth, width);
  }
  throw Error(fmt::format("unknown model {}", name), SuggestName(name, ModelNames()),
              Error::Kind::kUsage);
}

int64_t SizeOrUsual(int64_t size, int64_t usual) { return size == 0 ? usual : size; }

}  // namespace

LayerGraph BuildModel(const std::string& name, const ModelOptions& options) {
  if (options.shortcut != 'A' && options.shortcut != 'B') {
    throw Error(fmt::format("model {}: unknown shortcut {}", name, options.shortcut),
                "give A (padding) or B (1x1 convolution)", Error::Kind::kUsage);
  }
  const Family family = FindFamily(name, options.shortcut);
  if (family.usual_dropout < 0 && options.dropout > 0) {
    throw Error(fmt::format("model {} has no dropout", name),
                "leave the rate out, or use a WideResNet or an ImageNet VGG", Error::Kind::kUsage);
  }
  const ModelShape shape{.name = name,
                         .image = {SizeOrUsual(options.height, family.usual_image.height),
                                   SizeOrUsual(options.width, family.usual_image.width),
                                   SizeOrUsual(options.channels, family.usual_image.channels)},
                         .classes = options.classes};
  const double dropout = options.dropout < 0 ? family.usual_dropout : options.dropout;
  return family.build(shape, dropout);
}

std::vector<std::string> ModelNames() {
  std::vector<std::string> names;
  for (auto& [name, family] : AllModels('A')) names.push_back(name);
  return names;
}

}  // namespace thinwire
