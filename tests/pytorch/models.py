"""The compared models in PyTorch, with the names that thinwire gives its tensors."""

import torch
import torch.nn.functional as F
from torch import nn


def conv(channels, out_channels, kernel, stride=1, bias=False):
    return nn.Conv2d(channels, out_channels, kernel, stride, kernel // 2, bias=bias)


class PadShortcut(nn.Module):
    """He et al.'s option A: every second pixel, zero channels in front and behind."""

    def __init__(self, channels, out_channels):
        super().__init__()
        self.front = (out_channels - channels) // 2
        self.behind = out_channels - channels - self.front

    def forward(self, x):
        return F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.front, self.behind))


class BasicBlock(nn.Module):
    def __init__(self, channels, out_channels, stride, padding_shortcut):
        super().__init__()
        self.conv1 = conv(channels, out_channels, 3, stride)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = conv(out_channels, out_channels, 3)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.downsample = nn.Identity()
        if stride != 1 or channels != out_channels:
            if padding_shortcut:
                self.downsample = PadShortcut(channels, out_channels)
            else:
                self.downsample = nn.Sequential(conv(channels, out_channels, 1, stride),
                                                nn.BatchNorm2d(out_channels))

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.downsample(x))


class ResNet(nn.Module):
    """CIFAR ResNet; the classifier is called `linear` (He's nets) or `fc` (torchvision's)."""

    def __init__(self, widths, blocks, padding_shortcut, classifier, classes=10):
        super().__init__()
        self.conv1 = conv(3, widths[0], 3)
        self.bn1 = nn.BatchNorm2d(widths[0])
        channels = widths[0]
        self.stages = []
        for index, width in enumerate(widths):
            stage = []
            for block in range(blocks):
                stride = 2 if index > 0 and block == 0 else 1
                stage.append(BasicBlock(channels, width, stride, padding_shortcut))
                channels = width
            setattr(self, f"layer{index + 1}", nn.Sequential(*stage))
            self.stages.append(f"layer{index + 1}")
        self.classifier_name = classifier
        setattr(self, classifier, nn.Linear(channels, classes))

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        for stage in self.stages:
            x = getattr(self, stage)(x)
        return getattr(self, self.classifier_name)(x.mean((2, 3)))


class Vgg(nn.Module):
    def __init__(self, plan, classes=10):
        super().__init__()
        layers, channels = [], 3
        for width in plan:
            if width == "pool":
                layers.append(nn.MaxPool2d(2))
            else:
                layers += [conv(channels, width, 3, bias=True), nn.BatchNorm2d(width), nn.ReLU()]
                channels = width
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(512, classes)

    def forward(self, x):
        return self.classifier(self.features(x).flatten(1))


class WideBlock(nn.Module):
    def __init__(self, channels, out_channels, stride):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv1 = conv(channels, out_channels, 3, stride)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.conv2 = conv(out_channels, out_channels, 3)
        self.convShortcut = None
        if channels != out_channels or stride != 1:
            self.convShortcut = conv(channels, out_channels, 1, stride)

    def forward(self, x):
        y = F.relu(self.bn1(x))
        shortcut = x if self.convShortcut is None else self.convShortcut(y)
        return shortcut + self.conv2(F.relu(self.bn2(self.conv1(y))))


class WideStage(nn.Module):
    def __init__(self, channels, out_channels, blocks, stride):
        super().__init__()
        self.layer = nn.Sequential(*[
            WideBlock(channels if i == 0 else out_channels, out_channels, stride if i == 0 else 1)
            for i in range(blocks)])

    def forward(self, x):
        return self.layer(x)


class WideResNet(nn.Module):
    def __init__(self, depth, width, classes=10):
        super().__init__()
        blocks = (depth - 4) // 6
        self.conv1 = conv(3, 16, 3)
        self.block1 = WideStage(16, 16 * width, blocks, 1)
        self.block2 = WideStage(16 * width, 32 * width, blocks, 2)
        self.block3 = WideStage(32 * width, 64 * width, blocks, 2)
        self.bn1 = nn.BatchNorm2d(64 * width)
        self.fc = nn.Linear(64 * width, classes)

    def forward(self, x):
        x = self.block3(self.block2(self.block1(self.conv1(x))))
        return self.fc(F.relu(self.bn1(x)).mean((2, 3)))


def initialise(model):
    """He et al.'s initialisation of the convolutions, as thinwire's."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return model


def build(name):
    if name == "resnet20":
        return ResNet([16, 32, 64], 3, True, "linear")
    if name == "resnet18_cifar":
        return ResNet([64, 128, 256, 512], 2, False, "fc")
    if name == "vgg16_bn_cifar":
        plan = [64, 64, "pool", 128, 128, "pool", 256, 256, 256, "pool", 512, 512, 512, "pool",
                512, 512, 512, "pool"]
        return Vgg(plan)
    if name == "wrn_16_4":
        return WideResNet(16, 4)
    raise ValueError(f"no PyTorch counterpart of {name}")
