"""A small residual network that learns fast on a laptop's CPU: the default."""

from __future__ import annotations

from torch import Tensor, nn

from project.models.backbone import Backbone
from project.models.blocks import conv_norm_relu, global_pool, require_pixels


def small_resnet(num_classes: int, image_size: int, width: int = 32) -> Backbone:
    """A stem and two stages of doubling width at half, quarter and eighth resolution.

    Each stage is a convolution with max-pooling and a residual pair of convolutions, after the nine-layer networks of
    the fast CIFAR-10 recipes (Page, "How to Train Your ResNet", 2018). The stem halves the resolution: convolutions at
    full resolution cost most of the time. The pool averages: with a maximum the network often does not start learning.

    Args:
        num_classes: K.
        image_size: at least 8 pixels; the pool is global, so nothing else depends on it.
        width: channels of the stem.

    Raises:
        ConfigError: the images are too small.
    """
    require_pixels("small_resnet", image_size, 8)
    stages = {
        "stem": nn.Sequential(
            nn.Conv2d(3, width, 4, stride=2, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()
        ),
        "stage1": _stage(width, 2 * width),
        "stage2": _stage(2 * width, 4 * width),
    }
    return Backbone(stages, global_pool(), 4 * width, num_classes)


def _stage(channels_in: int, channels_out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False),
        nn.MaxPool2d(2),  # before the norm: a quarter of the work
        nn.BatchNorm2d(channels_out),
        nn.ReLU(),
        _Residual(channels_out),
    )


class _Residual(nn.Module):
    """x + conv(conv(x)), both with batch norm and ReLU."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.convs = nn.Sequential(
            nn.Sequential(*conv_norm_relu(channels, channels)), nn.Sequential(*conv_norm_relu(channels, channels))
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.convs(x)
