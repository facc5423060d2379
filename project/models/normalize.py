"""The first layer of every image network."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from project.errors import ConfigError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Normalize(nn.Module):
    """(image / 255 - mean) / std for each channel.

    Args:
        mean: of each channel, in 0..1.
        std: of each channel, in 0..1.

    Raises:
        ConfigError: there are not three of each, or a deviation is not above zero.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, mean: list[float], std: list[float]) -> None:
        super().__init__()
        if len(mean) != 3 or len(std) != 3 or min(std) <= 0:
            raise ConfigError("model.mean, model.std: three numbers each, one a channel, and std above zero")
        scale = 1 / (255 * torch.tensor(std))
        # not in the state dictionary: they follow from the hyper-parameters
        self.register_buffer("scale", scale.view(1, -1, 1, 1), persistent=False)
        self.register_buffer("shift", (-255 * torch.tensor(mean) * scale).view(1, -1, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) uint8 in 0..255 to float32 of the same layout."""
        return torch.addcmul(self.shift, images.float(), self.scale)
