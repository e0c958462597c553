// The model families, one file each. All throw Error (usage) for images that are too small.
#pragma once

#include <string>

#include "layers/layer_graph.h"
#include "models/models.h"

namespace thinwire {

/// Options with no zeros left, as the registry hands them to a family.
struct ModelShape {
  std::string name;  // of the model
  ImageShape image;
  int64_t classes = 10;
};

/// He et al., "Deep Residual Learning for Image Recognition" (CVPR 2016), section 4.2: three
/// stages of 16, 32 and 64 channels, depth 6n + 2. Tensor names are those of the usual PyTorch
/// port, pytorch_resnet_cifar10.
LayerGraph ResNetCifar(const ModelShape& shape, int64_t depth, char shortcut);

/// The same paper's ImageNet networks, depth 18, 34, 50, 101 or 152, with torchvision's names.
/// `cifar_stem`: a 3x3 convolution without max pooling takes the place of the 7x7 one.
/// Bottlenecks have their stride on the 3x3 convolution, as torchvision ("v1.5"); `width` times as
/// wide they are Zagoruyko and Komodakis's WideResNet-50-2 and its like.
LayerGraph ResNet(const ModelShape& shape, int64_t depth, bool cifar_stem, int64_t width = 1);

/// Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition"
/// (ICLR 2015), with batch norm, depth 11, 13, 16 or 19, with torchvision's names. `cifar_head`:
/// one linear layer named classifier takes the place of three.
LayerGraph Vgg(const ModelShape& shape, int64_t depth, bool cifar_head, double dropout);

/// Zagoruyko and Komodakis, "Wide Residual Networks" (BMVC 2016), depth 6n + 4, pre-activation.
LayerGraph WideResNet(const ModelShape& shape, int64_t depth, int64_t width, double dropout);

/// LeCun et al.'s LeNet-5 (1998) as it is built today: ReLU and max pooling, for any image.
LayerGraph LeNet(const ModelShape& shape);

/// A perceptron with hidden layers of 256 and 128.
LayerGraph Mlp(const ModelShape& shape);

}  // namespace thinwire
