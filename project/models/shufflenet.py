"""ShuffleNet 1 and 2 for CIFAR, as the tables of distillation compare them (Tian et al. 2019, arXiv:1910.10699).

Both begin with a 1 × 1 convolution at full resolution instead of a strided one with max-pool, and their weights as
torch's layers do. ImageNet's own second ones are `shufflenet_v2_x1_0` and its like.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from project.models.backbone import Backbone
from project.models.blocks import ChannelShuffle, conv_norm, conv_norm_relu, global_pool, require_pixels


def shufflenetv1(num_classes: int, image_size: int) -> Backbone:
    """ShuffleNet (Zhang et al. 2017, arXiv:1707.01083) with three groups, 0.95 M parameters.

    Raises:
        ConfigError: the images have fewer than 8 pixels.
    """
    require_pixels("shufflenetv1", image_size, 8)
    stages = {"stem": nn.Sequential(*conv_norm_relu(3, 24, 1))}
    channels = 24
    for number, (width, blocks) in enumerate(((240, 4), (480, 8), (960, 4)), start=1):
        # the stem has too few channels to be split
        first = _GroupedUnit(channels, width, 2, groups_in=1 if number == 1 else 3)
        rest = (_GroupedUnit(width, width, 1, groups_in=3) for _ in range(blocks - 1))
        stages[f"stage{number}"] = nn.Sequential(first, *rest)
        channels = width
    return Backbone(stages, global_pool(), channels, num_classes)


def shufflenetv2(num_classes: int, image_size: int) -> Backbone:
    """ShuffleNetV2 (Ma et al. 2018, arXiv:1807.11164) of width 1, 1.36 M parameters.

    Stage `conv` is the last 1 × 1 convolution.

    Raises:
        ConfigError: the images have fewer than 8 pixels.
    """
    require_pixels("shufflenetv2", image_size, 8)
    stages = {"stem": nn.Sequential(*conv_norm_relu(3, 24, 1))}
    channels = 24
    for number, (width, blocks) in enumerate(((116, 3), (232, 7), (464, 3)), start=1):
        stages[f"stage{number}"] = nn.Sequential(
            _DownUnit(channels, width), *(_SplitUnit(width) for _ in range(blocks))
        )
        channels = width
    stages["conv"] = nn.Sequential(*conv_norm_relu(channels, 1024, 1))
    return Backbone(stages, global_pool(), 1024, num_classes)


class _GroupedUnit(nn.Module):
    """Grouped 1 × 1, shuffle, 3 × 3 of each channel, grouped 1 × 1.

    With stride 1 it is added to x; with stride 2 it stands beside x averaged over 3 × 3.
    """

    def __init__(self, channels_in: int, channels_out: int, stride: int, groups_in: int) -> None:
        super().__init__()
        self.pool = nn.AvgPool2d(3, stride=2, padding=1) if stride == 2 else None
        computed = channels_out - channels_in if stride == 2 else channels_out
        hidden = computed // 4
        self.convs = nn.Sequential(
            *conv_norm_relu(channels_in, hidden, 1, groups=groups_in),
            ChannelShuffle(groups_in),
            *conv_norm_relu(hidden, hidden, stride=stride, groups=hidden),
            *conv_norm(hidden, computed, 1, groups=3),
        )
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        new = self.convs(x)
        return self.relu(new + x if self.pool is None else torch.cat([new, self.pool(x)], 1))


def _branch(channels_in: int, channels_out: int, stride: int) -> list[nn.Module]:
    """1 × 1, 3 × 3 of each channel, 1 × 1; ReLU after the outer ones."""
    return [
        *conv_norm_relu(channels_in, channels_out, 1),
        *conv_norm(channels_out, channels_out, stride=stride, groups=channels_out),
        *conv_norm_relu(channels_out, channels_out, 1),
    ]


class _SplitUnit(nn.Module):
    """Computes on the second half of the channels, leaves the first as it is, and shuffles both."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.convs = nn.Sequential(*_branch(channels // 2, channels // 2, 1))
        self.shuffle = ChannelShuffle(2)

    def forward(self, x: Tensor) -> Tensor:
        kept, used = x.chunk(2, dim=1)
        return self.shuffle(torch.cat([kept, self.convs(used)], 1))


class _DownUnit(nn.Module):
    """Two branches of stride 2 on all channels, each giving half of the new ones, shuffled."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        half = channels_out // 2
        self.short = nn.Sequential(
            *conv_norm(channels_in, channels_in, stride=2, groups=channels_in), *conv_norm_relu(channels_in, half, 1)
        )
        self.long = nn.Sequential(*_branch(channels_in, half, 2))
        self.shuffle = ChannelShuffle(2)

    def forward(self, x: Tensor) -> Tensor:
        return self.shuffle(torch.cat([self.short(x), self.long(x)], 1))
