"""Residual networks whose norm and ReLU come before the convolution (He et al. 2016, arXiv:1603.05027)."""

from __future__ import annotations

from torch import Tensor, nn

from project.models.backbone import Backbone
from project.models.blocks import global_pool, require_pixels


def preact_resnet18(num_classes: int, image_size: int) -> Backbone:
    """18 layers of widths 64 to 512, 11.2 M parameters; the network of mixup's CIFAR tables (arXiv:1710.09412).

    As in the CIFAR implementation that everyone compares with (kuangliu/pytorch-cifar), and unlike in the paper, no
    norm and ReLU follow the last block. Weights begin as torch's layers do.

    Raises:
        ConfigError: the images have fewer than 8 pixels.
    """
    require_pixels("preact_resnet18", image_size, 8)
    stages: dict[str, nn.Module] = {"stem": nn.Conv2d(3, 64, 3, padding=1, bias=False)}
    channels = 64
    for number, width in enumerate((64, 128, 256, 512), start=1):
        stages[f"stage{number}"] = nn.Sequential(*preact_blocks(2, channels, width, stride=1 if number == 1 else 2))
        channels = width
    return Backbone(stages, global_pool(), channels, num_classes)


def preact_blocks(
    count: int, channels_in: int, channels_out: int, stride: int, dropout: float = 0.0
) -> list[nn.Module]:
    """Blocks of one width, of which the first has the stride."""
    first = PreActBlock(channels_in, channels_out, stride, dropout)
    return [first, *(PreActBlock(channels_out, channels_out, 1, dropout) for _ in range(count - 1))]


class PreActBlock(nn.Module):
    """Norm, ReLU, convolution, twice, on a shortcut: x itself or, where the shape changes, a 1 × 1 of relu(norm(x)).

    Args:
        channels_in: C.
        channels_out: C'.
        stride: of the first convolution.
        dropout: probability, before the second convolution.
    """

    def __init__(self, channels_in: int, channels_out: int, stride: int = 1, dropout: float = 0.0) -> None:
        super().__init__()
        self.activation = nn.Sequential(nn.BatchNorm2d(channels_in), nn.ReLU())
        self.convs = nn.Sequential(
            nn.Conv2d(channels_in, channels_out, 3, stride, 1, bias=False),
            nn.BatchNorm2d(channels_out),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False),
        )
        same = stride == 1 and channels_in == channels_out
        self.shortcut = None if same else nn.Conv2d(channels_in, channels_out, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) to (B, C', h', w')."""
        active = self.activation(x)
        return self.convs(active) + (x if self.shortcut is None else self.shortcut(active))
