"""What several networks are made of, and how their weights begin.

Shapes: B images, C channels, h × w the size of a feature map.
"""

from __future__ import annotations

from torch import Tensor, nn

from project.errors import ConfigError
from project.models.backbone import Backbone


def conv_norm(
    channels_in: int, channels_out: int, kernel: int = 3, stride: int = 1, groups: int = 1, bias: bool = False
) -> list[nn.Module]:
    """A padded convolution and its batch norm."""
    conv = nn.Conv2d(channels_in, channels_out, kernel, stride, kernel // 2, groups=groups, bias=bias)
    return [conv, nn.BatchNorm2d(channels_out)]


def conv_norm_relu(
    channels_in: int, channels_out: int, kernel: int = 3, stride: int = 1, groups: int = 1, bias: bool = False
) -> list[nn.Module]:
    """A padded convolution, its batch norm and a ReLU."""
    return [*conv_norm(channels_in, channels_out, kernel, stride, groups, bias), nn.ReLU()]


def global_pool() -> nn.Sequential:
    """The mean over all positions, (B, C, h, w) to (B, C)."""
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())


class ChannelShuffle(nn.Module):
    """Takes one channel of each group in turn, so that the next grouped convolution sees all of them.

    Args:
        groups: how many; C is a multiple of it.
    """

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) to the same shape."""
        return x.unflatten(1, (self.groups, -1)).transpose(1, 2).flatten(1, 2)


def init_he(network: Backbone) -> Backbone:
    """Draws every convolution from N(0, 2 / fan_out), with biases of 0 (He et al. 2015, arXiv:1502.01852)."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return network


def init_head(network: Backbone, std: float = 0.01) -> Backbone:
    """Draws the head from N(0, std²), with biases of 0."""
    nn.init.normal_(network.head.weight, std=std)
    nn.init.zeros_(network.head.bias)
    return network


def require_pixels(name: str, image_size: int, least: int) -> None:
    """Refuses images of which the network's strides leave nothing.

    Raises:
        ConfigError: `image_size` is below `least`.
    """
    if image_size < least:
        raise ConfigError(f"model.backbone: {name} needs images of at least {least} pixels; got {image_size}")
