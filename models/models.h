// The models by name.
#pragma once

#include <string>
#include <vector>

#include "layers/layer_graph.h"

namespace thinwire {

struct ModelOptions {
  int64_t classes = 10;
  /// Input image; 0 means the model's usual size (32x32x3, 224x224x3, 28x28x1).
  int64_t height = 0, width = 0, channels = 0;
  /// CIFAR ResNets' shortcut: 'A' (padding, He et al.'s) or 'B' (1x1 convolution).
  char shortcut = 'A';
  /// Dropout rate inside WideResNet blocks and VGG's ImageNet head; negative: the model's default.
  double dropout = -1;
};

/// Builds a model by name: resnet20 … resnet110, resnet18_cifar …, vgg16_bn_cifar …, wrn_16_4 …,
/// resnet18 … resnet152, wide_resnet50_2, vgg16_bn …, lenet, mlp. Any wrn_D_K with D = 6n + 4 is
/// accepted.
/// @throws Error (usage) naming the nearest known model.
LayerGraph BuildModel(const std::string& name, const ModelOptions& options);

/// Every name worth listing.
std::vector<std::string> ModelNames();

}  // namespace thinwire
