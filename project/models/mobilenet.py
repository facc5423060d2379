"""MobileNetV2 (Sandler et al. 2018, arXiv:1801.04381) of half the width, for CIFAR."""

from __future__ import annotations

from torch import Tensor, nn

from project.models.backbone import Backbone
from project.models.blocks import conv_norm, conv_norm_relu, global_pool, init_he, init_head, require_pixels

# of each stage: (expansion, channels, blocks, stride of the first)
_STAGES = {
    "stage1": [(1, 8, 1, 1), (6, 12, 2, 1)],
    "stage2": [(6, 16, 3, 2)],
    "stage3": [(6, 32, 4, 2), (6, 48, 3, 1)],
    "stage4": [(6, 80, 3, 2), (6, 160, 1, 1)],
}


def mobilenetv2(num_classes: int, image_size: int) -> Backbone:
    """The MobileNetV2 of the tables of distillation, 0.81 M parameters (Tian et al. 2019, arXiv:1910.10699).

    Half the paper's width with an expansion of 6, ReLU instead of ReLU6, no dropout, and stride 1 where the paper halves
    the resolution for the second time. Stage `conv` is the last 1 × 1 convolution. Convolutions begin as `init_he`, the
    head with a deviation of 0.01. ImageNet's own is `mobilenet_v2`.

    Raises:
        ConfigError: the images have fewer than 16 pixels.
    """
    require_pixels("mobilenetv2", image_size, 16)
    stages = {"stem": nn.Sequential(*conv_norm_relu(3, 16, stride=2))}
    channels = 16
    for name, groups in _STAGES.items():
        blocks = []
        for expansion, width, count, stride in groups:
            for number in range(count):
                blocks.append(InvertedResidual(channels, width, stride if number == 0 else 1, expansion))
                channels = width
        stages[name] = nn.Sequential(*blocks)
    stages["conv"] = nn.Sequential(*conv_norm_relu(channels, 1280, 1))
    return init_head(init_he(Backbone(stages, global_pool(), 1280, num_classes)))


class InvertedResidual(nn.Module):
    """1 × 1 to `expansion` times the channels, 3 × 3 of each channel, 1 × 1 back without ReLU; plus x where it fits."""

    def __init__(self, channels_in: int, channels_out: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = channels_in * expansion
        self.convs = nn.Sequential(
            *conv_norm_relu(channels_in, hidden, 1),
            *conv_norm_relu(hidden, hidden, stride=stride, groups=hidden),
            *conv_norm(hidden, channels_out, 1),
        )
        self.residual = stride == 1 and channels_in == channels_out

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) to (B, C', h', w')."""
        return x + self.convs(x) if self.residual else self.convs(x)
