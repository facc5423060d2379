"""Random erasing and cutout: a box of each image's own becomes one colour.

Shapes: B images, S × S pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

ERASE_DRAWS = 5  # whether, area, aspect ratio, top, left
CUTOUT_DRAWS = 2  # centre y and x
_AREA = (0.02, 1 / 3)  # share of the image that is erased
_RATIO = (0.3, 10 / 3)  # width to height


def random_erase(images: Tensor, draws: Tensor, probability: float, fill: Sequence[int]) -> Tensor:
    """Fills a box somewhere in some of the images (Zhong et al. 2017, arXiv:1708.04896, algorithm 1).

    The area is uniform in 2 % to 33 % of the image's and the aspect ratio log-uniform in 0.3 to 3.3, as torchvision
    draws them; where a side would not fit, torchvision draws again up to ten times, and here it is cut to the image.

    Args:
        images: (B, S, S, 3) uint8.
        draws: (B, 5) float in [0, 1), on the same device.
        probability: share of the images that are erased.
        fill: the colour, 3 × 0..255.

    Returns:
        (B, S, S, 3) uint8.
    """
    size = images.shape[1]
    area = (_AREA[0] + (_AREA[1] - _AREA[0]) * draws[:, 1]) * size**2
    ratio = _RATIO[0] * (_RATIO[1] / _RATIO[0]) ** draws[:, 2]
    height = (area / ratio).sqrt().round().clamp(1, size)
    width = (area * ratio).sqrt().round().clamp(1, size)
    height = torch.where(draws[:, 0] < probability, height, 0)  # an empty box erases nothing
    top = (draws[:, 3] * (size - height + 1)).floor().minimum(size - height)
    left = (draws[:, 4] * (size - width + 1)).floor().minimum(size - width)
    return _fill(images, inside_box(size, top, left, top + height, left + width), fill)


def cutout(images: Tensor, draws: Tensor, side: int, fill: Sequence[int]) -> Tensor:
    """Fills a square around a random pixel of each image, cut at the border (DeVries and Taylor 2017, arXiv:1708.04552).

    Args:
        images: (B, S, S, 3) uint8.
        draws: (B, 2) float in [0, 1), on the same device.
        side: of the square, in pixels.
        fill: the colour, 3 × 0..255.

    Returns:
        (B, S, S, 3) uint8.
    """
    size = images.shape[1]
    top, left = ((draws[:, axis] * size).floor().clamp(max=size - 1) - side // 2 for axis in (0, 1))
    return _fill(images, inside_box(size, top, left, top + side, left + side), fill)


def inside_box(size: int, top: Tensor, left: Tensor, bottom: Tensor, right: Tensor) -> Tensor:
    """Which pixels lie in each image's box, (B, S, S) bool. The bounds, (B,), are pixels; the upper ones are outside."""
    positions = torch.arange(size, device=top.device)
    lines = (positions >= top[:, None]) & (positions < bottom[:, None])
    columns = (positions >= left[:, None]) & (positions < right[:, None])
    return lines[:, :, None] & columns[:, None, :]


def _fill(images: Tensor, inside: Tensor, fill: Sequence[int]) -> Tensor:
    colour = torch.tensor(fill, dtype=torch.uint8).to(images.device, non_blocking=True)
    return torch.where(inside[..., None], colour, images)
