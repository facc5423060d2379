"""The article's network: two convolutions and two linear layers."""

from __future__ import annotations

from torch import nn

from project.models.backbone import Backbone
from project.models.blocks import require_pixels


def simple_cnn(num_classes: int, image_size: int) -> Backbone:
    """Conv 3→64, pool, conv 64→128, pool, linear→1024, linear→K (all ReLU, 3×3, padded, 2×2 max-pool).

    The first linear layer takes 128 · (image_size // 4)² numbers. The article writes 128 · 8 · 8 beside images of
    64 × 64 pixels, which needs 128 · 16 · 16, so here the size is computed.

    Raises:
        ConfigError: `image_size` is below 4, so that two poolings leave nothing.
    """
    require_pixels("simple_cnn", image_size, 4)

    def stage(channels_in: int, channels_out: int) -> nn.Module:
        return nn.Sequential(nn.Conv2d(channels_in, channels_out, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))

    flattened = 128 * (image_size // 4) ** 2
    pool = nn.Sequential(nn.Flatten(), nn.Linear(flattened, 1024), nn.ReLU())
    return Backbone({"conv1": stage(3, 64), "conv2": stage(64, 128)}, pool, 1024, num_classes)
