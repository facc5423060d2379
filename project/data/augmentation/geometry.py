"""Crop, shift and flip with draws of each sample's own.

They only move pixels, so all three are one gather from the stored images.

Shapes: N stored images, B in the batch, S × S pixels.
"""

from __future__ import annotations

import torch
from torch import Tensor

NUM_DRAWS = 5  # crop y and x, shift y and x, flip


def move_pixels(images: Tensor, rows: Tensor, draws: Tensor, crop: int, shift: int, flip: bool) -> Tensor:
    """Takes `images[rows]`, each cropped, shifted and flipped by its own draws.

    Args:
        images: (N, S, S, 3) uint8.
        rows: (B,) int64, which of them.
        draws: (B, 5) float in [0, 1), on the same device.
        crop: pixels of reflect padding on each side before a random crop back to S × S.
        shift: largest shift in pixels along each axis; the border pixel is repeated into the gap.
        flip: whether to mirror left and right where the last draw is below 1/2.

    Returns:
        (B, S, S, 3) uint8.
    """
    size = images.shape[1]
    positions = torch.arange(size, device=images.device)
    # where in the stored image each row and column of the result comes from, undone from the last step to the first
    columns = torch.where((draws[:, 4:5] < 0.5) & flip, positions.flip(0), positions)
    lines = positions.expand(len(rows), size)
    lines, columns = (
        (coordinates - _offset(draws[:, 2 + axis], shift)).clamp(0, size - 1)
        for axis, coordinates in enumerate((lines, columns))
    )
    lines, columns = (
        _reflect(coordinates - _offset(draws[:, axis], crop), size) for axis, coordinates in enumerate((lines, columns))
    )
    pixels = ((rows[:, None] * size + lines) * size)[:, :, None] + columns[:, None, :]
    return images.view(-1, 3).index_select(0, pixels.view(-1)).view(len(rows), size, size, 3)


def num_views(crop: int, shift: int, flip: bool) -> int:
    """How many numbers `view_numbers` hands out."""
    return ((2 * crop + 1) * (2 * shift + 1)) ** 2 * (1 + flip)


def view_numbers(draws: Tensor, crop: int, shift: int, flip: bool) -> Tensor:
    """A number below `num_views` for each way in which `move_pixels` moves them, (B,) int64.

    Args:
        draws: (B, 5) float, as `move_pixels` has them and of the same type.
        crop: see `move_pixels`.
        shift: likewise.
        flip: likewise.
    """
    numbers = ((draws[:, 4] < 0.5) & flip).long()
    for axis, largest in enumerate((crop, crop, shift, shift)):
        numbers = numbers * (2 * largest + 1) + _offset(draws[:, axis], largest)[:, 0] + largest
    return numbers


def _offset(draw: Tensor, largest: int) -> Tensor:
    """A whole number from -largest to largest for each draw, (B, 1) int64."""
    # in 32 bits a draw just below one is rounded up to it
    return ((draw * (2 * largest + 1)).floor().clamp(max=2 * largest).long() - largest)[:, None]


def _reflect(coordinates: Tensor, size: int) -> Tensor:
    """Coordinates outside 0..size-1 mirrored at the border pixel, which is not repeated."""
    period = max(2 * (size - 1), 1)
    coordinates = coordinates.remainder(period)
    return torch.minimum(coordinates, period - coordinates)
