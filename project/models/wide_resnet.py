"""Wide residual networks (Zagoruyko and Komodakis 2016, arXiv:1605.07146) for CIFAR: `wrn_DEPTH_WIDTH`."""

from __future__ import annotations

from torch import nn

from project.models.backbone import Backbone
from project.models.blocks import global_pool, init_he, require_pixels
from project.models.preact_resnet import preact_blocks


def wrn_16_2(num_classes: int, image_size: int, dropout: float = 0.0) -> Backbone:
    """16 layers, twice the width, 0.70 M parameters."""
    return _wide_resnet(16, 2, num_classes, image_size, dropout)


def wrn_40_1(num_classes: int, image_size: int, dropout: float = 0.0) -> Backbone:
    """40 layers, 0.57 M parameters."""
    return _wide_resnet(40, 1, num_classes, image_size, dropout)


def wrn_40_2(num_classes: int, image_size: int, dropout: float = 0.0) -> Backbone:
    """40 layers, twice the width, 2.26 M parameters."""
    return _wide_resnet(40, 2, num_classes, image_size, dropout)


def wrn_28_10(num_classes: int, image_size: int, dropout: float = 0.0) -> Backbone:
    """28 layers, ten times the width, 36.5 M parameters: the paper's best on CIFAR."""
    return _wide_resnet(28, 10, num_classes, image_size, dropout)


def _wide_resnet(depth: int, width: int, num_classes: int, image_size: int, dropout: float) -> Backbone:
    """`depth` = 6n + 4 layers in three stages of 16, 32 and 64 times `width`; the last one ends with norm and ReLU.

    Convolutions begin as `init_he`, the head's weights as torch's and its biases at 0. `dropout` lies inside the blocks.

    Raises:
        ConfigError: the images have fewer than 4 pixels.
    """
    require_pixels(f"wrn_{depth}_{width}", image_size, 4)
    stages: dict[str, nn.Module] = {"stem": nn.Conv2d(3, 16, 3, padding=1, bias=False)}
    channels = 16
    for number, wide in enumerate((16 * width, 32 * width, 64 * width), start=1):
        blocks = preact_blocks((depth - 4) // 6, channels, wide, 1 if number == 1 else 2, dropout)
        if number == 3:
            blocks += [nn.BatchNorm2d(wide), nn.ReLU()]
        stages[f"stage{number}"] = nn.Sequential(*blocks)
        channels = wide
    network = init_he(Backbone(stages, global_pool(), channels, num_classes))
    nn.init.zeros_(network.head.bias)
    return network
