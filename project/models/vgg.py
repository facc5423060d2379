"""VGG (Simonyan and Zisserman 2014, arXiv:1409.1556) for CIFAR: with batch norm, and one linear layer.

As the tables of distillation compare them (Tian et al. 2019, arXiv:1910.10699). ImageNet's own are `torchvision/vgg13`.
"""

from __future__ import annotations

from torch import nn

from project.models.backbone import Backbone
from project.models.blocks import conv_norm_relu, global_pool, init_he, init_head, require_pixels


def vgg8(num_classes: int, image_size: int) -> Backbone:
    """One convolution a block, 3.97 M parameters."""
    return _vgg("vgg8", (1, 1, 1, 1, 1), num_classes, image_size)


def vgg13(num_classes: int, image_size: int) -> Backbone:
    """Two convolutions a block, 9.46 M parameters."""
    return _vgg("vgg13", (2, 2, 2, 2, 2), num_classes, image_size)


def vgg16(num_classes: int, image_size: int) -> Backbone:
    """Two and then three convolutions a block, 14.8 M parameters."""
    return _vgg("vgg16", (2, 2, 3, 3, 3), num_classes, image_size)


def _vgg(name: str, depths: tuple[int, ...], num_classes: int, image_size: int) -> Backbone:
    """Five blocks, each at half the resolution of the one before, but the fifth: that only from 64 pixels on.

    A block begins with its max-pool, so that its output is of the resolution at which it computes. Convolutions begin
    as `init_he`, the head with a deviation of 0.01.

    Raises:
        ConfigError: the images have fewer than 8 pixels.
    """
    require_pixels(name, image_size, 8)
    stages = {}
    channels = 3
    for number, (depth, width) in enumerate(zip(depths, (64, 128, 256, 512, 512), strict=True), start=1):
        halved = number in (2, 3, 4) or (number == 5 and image_size >= 64)
        layers: list[nn.Module] = [nn.MaxPool2d(2)] if halved else []
        for _ in range(depth):
            layers += conv_norm_relu(channels, width, bias=True)
            channels = width
        stages[f"block{number}"] = nn.Sequential(*layers)
    return init_head(init_he(Backbone(stages, global_pool(), channels, num_classes)))
