"""The networks of the fastest public CIFAR-10 recipes: a whitening layer that is computed, and three blocks.

Shapes: B images, C channels, h × w the size of a feature map.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from project.errors import ConfigError
from project.models.backbone import Backbone
from project.models.blocks import require_pixels

_HEAD_SCALE = 1 / 9
_LEAST_VARIANCE = 5e-4


class Airbench(Backbone):
    """Whitened patches, blocks that halve the resolution, a global maximum, and a head with small logits.

    Jordan 2024, arXiv:2404.00498, section 3.

    Args:
        num_classes: K.
        whiten: the first layer.
        widths: channels of each block.
        convs: convolutions of a block; of three, the last two have a residual connection around them.
        momentum: of batch norms, in torch's sense: the share of the newest batch.
    """

    def __init__(
        self, num_classes: int, whiten: WhiteningConv, widths: Sequence[int], convs: int, momentum: float
    ) -> None:
        channels = [whiten.out_channels, *widths]
        blocks = {f"block{number}": _Block(*pair, convs, momentum) for number, pair in enumerate(pairwise(channels), 1)}
        pool = _Largest()
        head = _ScaledLinear(channels[-1], num_classes, bias=False)
        super().__init__({"whiten": nn.Sequential(whiten, nn.GELU()), **blocks}, pool, channels[-1], num_classes, head)

    def initialize_from(self, batches: Iterable[Tensor]) -> None:
        """See `Backbone`: the whitening layer's filters."""
        (whiten,) = (layer for layer in self.modules() if isinstance(layer, WhiteningConv))
        whiten.whiten(batches)


class _Largest(nn.Module):
    """The largest value of each channel: (B, C, h, w) to (B, C). torch's own pooling has no deterministic gradient."""

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(2).max(2).values


class WhiteningConv(nn.Conv2d):
    """Filters that make the patches of the images uncorrelated, each with its negative; only the bias learns.

    Page 2018, "How to Train Your ResNet 8"; with the negatives, and a bias, Jordan 2024, arXiv:2404.00498, section 3.2.

    Args:
        kernel: side of a patch.
        stride: pixels from one patch to the next.
        directions: how many filters, negatives not counted, those of the largest variance; without it, all.
    """

    def __init__(self, kernel: int = 2, stride: int = 1, directions: int | None = None) -> None:
        super().__init__(3, 2 * (directions or 3 * kernel**2), kernel, stride, padding=kernel // 2 - 1)
        self.weight.requires_grad_(False)

    @torch.no_grad()
    def whiten(self, batches: Iterable[Tensor]) -> None:
        """Sets the filters to the eigenvectors of the patches' covariance, over the roots of their eigenvalues.

        Args:
            batches: of images (B, 3, H, W) float, normalised.
        """
        size = self.weight[0].numel()
        covariance, count = torch.zeros(size, size, dtype=torch.float64), 0
        for images in batches:
            patches = functional.unfold(images, self.kernel_size, stride=self.stride).transpose(1, 2).flatten(0, 1)
            covariance += (patches.T @ patches).cpu()
            count += len(patches)
        values, vectors = torch.linalg.eigh(covariance / count)
        filters = (vectors / (values + _LEAST_VARIANCE).sqrt()).T.flip(0)  # the largest first
        filters = filters[: self.out_channels // 2]
        self.weight.copy_(torch.cat([filters, -filters]).view_as(self.weight))


class _Block(nn.Module):
    """A convolution with max-pooling, then one or two at half the resolution."""

    def __init__(self, channels_in: int, channels_out: int, convs: int, momentum: float) -> None:
        super().__init__()
        self.first = nn.Sequential(_conv(channels_in, channels_out), nn.MaxPool2d(2), _norm(channels_out, momentum))
        others = []
        for _ in range(convs - 1):
            others += [nn.GELU(), _conv(channels_out, channels_out), _norm(channels_out, momentum)]
        self.others = nn.Sequential(*others[1:])
        self.residual = convs > 2

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) to (B, C', h // 2, w // 2)."""
        x = functional.gelu(self.first(x))
        y = self.others(x)
        return functional.gelu(x + y if self.residual else y)


def _conv(channels_in: int, channels_out: int) -> nn.Conv2d:
    """The identity on as many channels as there are, and random filters beyond them."""
    conv = nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False)
    with torch.no_grad():
        nn.init.dirac_(conv.weight[:channels_in])
    return conv


def _norm(channels: int, momentum: float) -> nn.BatchNorm2d:
    """Shifts and does not scale: the scale stays 1, since the next convolution can do that."""
    norm = nn.BatchNorm2d(channels, eps=1e-12, momentum=momentum)
    norm.weight.requires_grad_(False)
    return norm


class _ScaledLinear(nn.Linear):
    """A linear layer whose logits begin small, and learn as fast as if they did not."""

    def forward(self, x: Tensor) -> Tensor:
        return _HEAD_SCALE * super().forward(x)


def airbench94(num_classes: int, image_size: int, widths: Sequence[int] = (64, 256, 256)) -> Backbone:
    """The network that reaches 94 % on CIFAR-10 in seconds: 2 M parameters, of two convolutions a block.

    Args:
        num_classes: K.
        image_size: at least 9 pixels.
        widths: channels of each block.

    Raises:
        ConfigError: the images are too small.
    """
    _check("airbench94", image_size, widths, 2 ** len(widths) + 1)
    return Airbench(num_classes, WhiteningConv(), widths, convs=2, momentum=0.4)


def airbench96(num_classes: int, image_size: int, widths: Sequence[int] = (128, 384, 512)) -> Backbone:
    """The wider one that reaches 96 %: three convolutions a block, two of them with a residual connection.

    Args:
        num_classes: K.
        image_size: at least 9 pixels.
        widths: channels of each block.

    Raises:
        ConfigError: the images are too small.
    """
    _check("airbench96", image_size, widths, 2 ** len(widths) + 1)
    whitening = WhiteningConv()
    assert whitening.bias is not None
    nn.init.zeros_(whitening.bias)  # as published, where airbench94's begins as torch makes it
    return Airbench(num_classes, whitening, widths, convs=3, momentum=0.1)


def airbench_small(num_classes: int, image_size: int, widths: Sequence[int] = (64, 128)) -> Backbone:
    """One for a processor, of a fraction of the work: patches of 4 × 4 at every other pixel, and two blocks.

    Args:
        num_classes: K.
        image_size: at least 8 pixels.
        widths: channels of each block.

    Raises:
        ConfigError: the images are too small.
    """
    _check("airbench_small", image_size, widths, 2 ** (len(widths) + 1))
    return Airbench(num_classes, WhiteningConv(kernel=4, stride=2, directions=12), widths, convs=2, momentum=0.4)


def _check(name: str, image_size: int, widths: Sequence[int], least: int) -> None:
    if not widths or min(widths) < 1:
        raise ConfigError(f"model.backbone_options.widths: a number of channels for each block; got {list(widths)}")
    require_pixels(name, image_size, least)
