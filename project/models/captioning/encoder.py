"""A backbone as the eye of a captioner: a grid of features, and their mean.

Shapes: B images, L places of the grid, D features at each.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import Tensor, nn

from project.errors import ConfigError
from project.models import build_backbone


class Features(NamedTuple):
    """What is known of each image: `grid` (B, L, D) in rows from the top left, and its mean `pooled` (B, D)."""

    grid: Tensor
    pooled: Tensor


class ImageEncoder(nn.Module):
    """The last feature map of a backbone; its head and pool are left out.

    Args:
        backbone: a name that `build_backbone` knows.
        image_size: pixels of a side.
        options: of the backbone.

    Raises:
        ConfigError: the backbone cannot be built, or ends with no map.
    """

    def __init__(self, backbone: str, image_size: int, options: dict[str, Any] | None = None) -> None:
        super().__init__()
        network = build_backbone(backbone, 1, image_size, options)
        try:
            self.num_features, self.height, self.width = network.map_shape(image_size)
        except RuntimeError as error:  # timm's tokens may fill no square
            reason = str(error).partition("\n")[0]
            raise ConfigError(
                f"model.backbone: {backbone} ends with no map, which a captioner needs: {reason}"
            ) from error
        self.note = network.note
        network.freeze_unused(image_size, lambda images: [network.feature_maps(images)])
        network.pool, network.head = nn.Identity(), nn.Identity()  # type: ignore[assignment]  # nobody asks this one for logits
        self.network = network

    def forward(self, images: Tensor) -> Features:
        """Features of images (B, 3, H, W) float, normalised."""
        grid = self.network.feature_maps(images).flatten(2).transpose(1, 2)
        return Features(grid.contiguous(), grid.mean(1))
