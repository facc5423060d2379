"""Batched augmentation with parameters drawn per sample, on the device that holds the images.

torchvision's v2 transforms draw one set of parameters for a whole batch; here each image has its own. Crop, shift and
flip only move pixels, so all three are one gather from the stored images.

Shapes: N stored images, B in the batch, S × S pixels, P random numbers a sample.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Augmentation:
    """What is done to a training image, drawn anew for each sample and epoch.

    Args:
        crop: pixels of reflect padding on each side before a random crop back to S × S.
        shift: largest shift in pixels along each axis; the border pixel is repeated into the gap.
        flip: whether to mirror left and right with probability 1/2.
        min_area: below 1, a random resized crop (share of the area between this and 1, aspect ratio 3/4 to 4/3;
            Szegedy et al. 2015, arXiv:1409.4842) takes the place of the central square. Streamed images only, since
            stored ones are squares already.
    """

    crop: int = 0
    shift: int = 0
    flip: bool = False
    min_area: float = 1.0

    @property
    def moves_pixels(self) -> bool:
        """Whether `augment` does anything."""
        return bool(self.crop or self.shift or self.flip)


NUM_DRAWS = 5  # crop y and x, shift y and x, flip


def augment(images: Tensor, rows: Tensor, draws: Tensor, augmentation: Augmentation) -> Tensor:
    """Takes `images[rows]`, each cropped, shifted and flipped by its own draws.

    Args:
        images: (N, S, S, 3) uint8.
        rows: (B,) int64, which of them.
        draws: (B, P) float in [0, 1), on the same device.
        augmentation: what to do.

    Returns:
        (B, 3, S, S) uint8, stored channels-last.
    """
    size = images.shape[1]
    positions = torch.arange(size, device=images.device)
    # where in the stored image each row and column of the result comes from, undone from the last step to the first
    columns = torch.where((draws[:, 4:5] < 0.5) & augmentation.flip, positions.flip(0), positions)
    lines = positions.expand(len(rows), size)
    lines, columns = (
        (coordinates - _offset(draws[:, 2 + axis], augmentation.shift)).clamp(0, size - 1)
        for axis, coordinates in enumerate((lines, columns))
    )
    lines, columns = (
        _reflect(coordinates - _offset(draws[:, axis], augmentation.crop), size)
        for axis, coordinates in enumerate((lines, columns))
    )
    pixels = ((rows[:, None] * size + lines) * size)[:, :, None] + columns[:, None, :]
    gathered = images.view(-1, 3).index_select(0, pixels.view(-1))
    return gathered.view(len(rows), size, size, 3).permute(0, 3, 1, 2)


def _offset(draw: Tensor, largest: int) -> Tensor:
    """A whole number from -largest to largest for each draw, (B, 1) int64."""
    # in 32 bits a draw just below one is rounded up to it
    return ((draw * (2 * largest + 1)).floor().clamp(max=2 * largest).long() - largest)[:, None]


def _reflect(coordinates: Tensor, size: int) -> Tensor:
    """Coordinates outside 0..size-1 mirrored at the border pixel, which is not repeated."""
    period = max(2 * (size - 1), 1)
    coordinates = coordinates.remainder(period)
    return torch.minimum(coordinates, period - coordinates)
