"""The residual networks of CIFAR: three stages of basic blocks at full, half and quarter resolution.

He et al. 2015 (arXiv:1512.03385, section 4.2), as the tables of distillation compare them: widths 16-16-32-64 and, with
"x4", 32-64-128-256, with 1 × 1 convolutions as shortcuts where the width changes (Tian et al. 2019, arXiv:1910.10699).
"""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from project.models.backbone import Backbone
from project.models.blocks import conv_norm, conv_norm_relu, global_pool, init_he, require_pixels


def resnet20(num_classes: int, image_size: int) -> Backbone:
    """20 layers, 0.28 M parameters."""
    return _resnet("resnet20", 20, (16, 16, 32, 64), num_classes, image_size)


def resnet32(num_classes: int, image_size: int) -> Backbone:
    """32 layers, 0.47 M parameters."""
    return _resnet("resnet32", 32, (16, 16, 32, 64), num_classes, image_size)


def resnet44(num_classes: int, image_size: int) -> Backbone:
    """44 layers, 0.67 M parameters."""
    return _resnet("resnet44", 44, (16, 16, 32, 64), num_classes, image_size)


def resnet56(num_classes: int, image_size: int) -> Backbone:
    """56 layers, 0.86 M parameters."""
    return _resnet("resnet56", 56, (16, 16, 32, 64), num_classes, image_size)


def resnet110(num_classes: int, image_size: int) -> Backbone:
    """110 layers, 1.74 M parameters."""
    return _resnet("resnet110", 110, (16, 16, 32, 64), num_classes, image_size)


def resnet8x4(num_classes: int, image_size: int) -> Backbone:
    """8 layers of four times the width (the stem's is twice), 1.23 M parameters."""
    return _resnet("resnet8x4", 8, (32, 64, 128, 256), num_classes, image_size)


def resnet32x4(num_classes: int, image_size: int) -> Backbone:
    """32 layers of four times the width (the stem's is twice), 7.43 M parameters."""
    return _resnet("resnet32x4", 32, (32, 64, 128, 256), num_classes, image_size)


def _resnet(name: str, depth: int, widths: tuple[int, ...], num_classes: int, image_size: int) -> Backbone:
    """`depth` = 6n + 2 layers of `widths` (stem, three stages); convolutions begin as `init_he`, the head as torch's.

    Raises:
        ConfigError: the images have fewer than 4 pixels.
    """
    require_pixels(name, image_size, 4)
    stages = {"stem": nn.Sequential(*conv_norm_relu(3, widths[0]))}
    for number, (channels_in, channels_out) in enumerate(pairwise(widths), start=1):
        first = BasicBlock(channels_in, channels_out, stride=1 if number == 1 else 2)
        rest = (BasicBlock(channels_out, channels_out) for _ in range((depth - 2) // 6 - 1))
        stages[f"stage{number}"] = nn.Sequential(first, *rest)
    return init_he(Backbone(stages, global_pool(), widths[-1], num_classes))


class BasicBlock(nn.Module):
    """relu(shortcut(x) + two 3 × 3 convolutions with batch norm)."""

    def __init__(self, channels_in: int, channels_out: int, stride: int = 1) -> None:
        super().__init__()
        self.convs = nn.Sequential(
            *conv_norm_relu(channels_in, channels_out, stride=stride), *conv_norm(channels_out, channels_out)
        )
        same = stride == 1 and channels_in == channels_out
        self.shortcut = nn.Sequential(*([] if same else conv_norm(channels_in, channels_out, 1, stride=stride)))
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) to (B, C', h', w')."""
        return self.relu(self.convs(x) + self.shortcut(x))
