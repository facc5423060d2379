"""Batched image operations with a magnitude for each sample, on the device that holds the images.

torchvision's v2 functions take one magnitude for a whole batch. Here every sample has its own operation and its own
magnitude, and the result is what torchvision gives for that image alone. Operations of one family are computed
together: the geometric ones are a single gather of pixels, and those that change a channel by its own value are a
single look-up in tables of 256 levels.

Shapes: B in the batch, b of them with operations of one family, H × W pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional


class Operation(IntEnum):
    """What can be done to an image, and what the magnitude means."""

    IDENTITY = 0
    SHEAR_X = 1  # tangent of the angle; the corner at the top left stays where it is
    SHEAR_Y = 2
    TRANSLATE_X = 3  # pixels to the right; a fraction is cut off
    TRANSLATE_Y = 4  # pixels down
    ROTATE = 5  # degrees, counter-clockwise, about the centre
    BRIGHTNESS = 6  # factor from 0, which gives black; 1 is the image itself
    COLOR = 7  # factor from 0, which gives grey levels
    CONTRAST = 8  # factor from 0, which gives the mean grey level
    SHARPNESS = 9  # factor from 0, which gives a smoothed image
    POSTERIZE = 10  # bits kept, 0 to 8
    SOLARIZE = 11  # values from this one on are inverted
    AUTOCONTRAST = 12  # without magnitude
    EQUALIZE = 13  # without magnitude
    HUE = 14  # turns of the colour wheel, -0.5 to 0.5


def apply_operations(images: Tensor, operations: np.ndarray, magnitudes: Tensor) -> Tensor:
    """Does to each image its own operation.

    Geometric operations take the nearest pixel, and black outside the image.

    Args:
        images: (B, H, W, 3) uint8, contiguous; not modified.
        operations: (B,) integers, values of `Operation`; on the host, so that sorting never waits for a GPU.
        magnitudes: (B,) float32 on the images' device; their meaning and range is said at `Operation`.

    Returns:
        (B, H, W, 3) uint8, contiguous.
    """
    ranks = _RANKS[operations]
    order = np.argsort(ranks, kind="stable")
    ends = np.searchsorted(ranks[order], np.arange(len(_RANKS)), side="right").tolist()
    sorted_here, restored_here = (
        torch.from_numpy(rows).to(images.device, non_blocking=True) for rows in (order, np.argsort(order))
    )
    images, magnitudes = images.index_select(0, sorted_here), magnitudes.index_select(0, sorted_here)
    for family, function in _FAMILIES.items():
        first = ends[_RANKS[family[0]] - 1]
        sizes = [ends[_RANKS[operation]] - ends[_RANKS[operation] - 1] for operation in family]
        here = slice(first, first + sum(sizes))
        if sum(sizes):
            images[here] = function(images[here], magnitudes[here], sizes)
    return images.index_select(0, restored_here)


# ---- geometric: one gather


def _move(images: Tensor, magnitudes: Tensor, sizes: list[int]) -> Tensor:
    """Takes each pixel from where an affine map of its coordinates points to, (b, H, W, 3) uint8."""
    count, height, width, _ = images.shape
    matrices = _matrices(magnitudes, sizes, height, width)
    # a border of one black pixel, which everything outside falls on
    padded = functional.pad(images, (0, 0, 1, 1, 1, 1))
    columns, rows = (
        torch.arange(size, device=images.device, dtype=torch.float32) - (size - 1) / 2 for size in (width, height)
    )
    x, y = (
        _source(row[..., None, None], columns, rows, size) for row, size in zip(matrices, (width, height), strict=True)
    )
    # whole numbers are exact in float32 up to 4,096 × 4,096 pixels
    pixels = torch.add(x, y, alpha=width + 2).int()
    inside = torch.arange(count, device=images.device, dtype=torch.int32) * ((height + 2) * (width + 2)) + (width + 3)
    return padded.view(-1, 3).index_select(0, pixels.add_(inside[:, None, None]).view(-1)).view_as(images)


def _source(row: Tensor, columns: Tensor, rows: Tensor, size: int) -> Tensor:
    """One coordinate of the pixel that each pixel is taken from, (b, H, W) float32, whole numbers from -1 to size.

    -1 and size are the border. Where the place is half-way between two pixels, as on the diagonal of an image turned by
    45 degrees, rounding errors decide; so the steps are those of `affine_grid` and `grid_sample`, which measure from -1
    to 1 across the image.

    Args:
        row: (3, b, 1, 1) float32, of the matrix.
        columns: (W,) float32, from the centre.
        rows: (H,) float32, from the centre.
        size: W or H.
    """
    by_column, by_row, offset = row / (size / 2)
    place = (by_column * columns + by_row * rows[:, None]).add_(offset)
    return place.add_(1).mul_(size / 2).add_(-0.5).round_().clamp_(-1, size)


def _matrices(magnitudes: Tensor, sizes: list[int], height: int, width: int) -> Tensor:
    """From (column, row, 1) in the result to (column, row) in the image, about its centre, (2, 3, b) float32."""
    matrices = torch.eye(2, 3, device=magnitudes.device)[..., None].repeat(1, 1, len(magnitudes))
    parts = zip(matrices.split(sizes, 2), magnitudes.split(sizes), strict=True)
    (shear_x, slope_x), (shear_y, slope_y), (move_x, right), (move_y, down), (rotate, degrees) = parts
    shear_x[0, 1], shear_x[0, 2] = slope_x, slope_x * (height / 2)
    shear_y[1, 0], shear_y[1, 2] = slope_y, slope_y * (width / 2)
    move_x[0, 2] = -right.trunc()
    move_y[1, 2] = -down.trunc()
    # in 64 bits, where there are, cosine and sine are rounded alike on every device
    angle = (degrees if degrees.device.type == "mps" else degrees.double()).deg2rad()
    rotate[0, 0] = rotate[1, 1] = angle.cos()
    rotate[1, 0] = angle.sin()
    rotate[0, 1] = -rotate[1, 0]
    return matrices


# ---- each channel by its own value: one look-up


def _look_up(images: Tensor, magnitudes: Tensor, sizes: list[int]) -> Tensor:
    """Replaces each level by what the table of its sample and channel says, (b, H, W, 3) uint8."""
    levels = torch.arange(256, device=images.device, dtype=torch.float32)
    parts = zip(_TABLES.values(), images.split(sizes), magnitudes.view(-1, 1, 1).split(sizes), strict=True)
    tables = torch.cat([table(levels, *part).expand(-1, 3, -1) for table, *part in parts])
    return tables.view(-1).index_select(0, _entries(images)).view_as(images)


def _entries(images: Tensor) -> Tensor:
    """Which entry of tables of (b, 3, 256) belongs to each level of the images, (b · H · W · 3,) int32."""
    count, height, width, _ = images.shape
    channels = torch.arange(0, 3 * 256, 256, device=images.device, dtype=torch.int32).expand(height * width, 3)
    samples = torch.arange(count, device=images.device, dtype=torch.int32) * (3 * 256)
    return images.flatten(1).int().add_(channels.flatten()).add_(samples[:, None]).view(-1)


def _blend(one: Tensor, other: Tensor, factors: Tensor) -> Tensor:
    """`one` where the factor is 1, `other` where it is 0, and beyond; uint8."""
    return (one * factors).add_(other * (1 - factors)).clamp_(0, 255).byte()


def _brightness(levels: Tensor, _: Tensor, factors: Tensor) -> Tensor:
    """(b, 1, 256) uint8."""
    return (levels * factors).clamp_(0, 255).byte()


def _contrast(levels: Tensor, images: Tensor, factors: Tensor) -> Tensor:
    """(b, 1, 256) uint8."""
    return _blend(levels, _grey(*_planes(images)).mean((1, 2)).view(-1, 1, 1), factors)


def _posterize(levels: Tensor, _: Tensor, bits: Tensor) -> Tensor:
    """(b, 1, 256) uint8."""
    lost = 8 - bits.int()
    return ((levels.int() >> lost) << lost).byte()


def _solarize(levels: Tensor, _: Tensor, thresholds: Tensor) -> Tensor:
    """(b, 1, 256) uint8."""
    return torch.where(levels >= thresholds, 255 - levels, levels).byte()


def _autocontrast(levels: Tensor, images: Tensor, _: Tensor) -> Tensor:
    """Stretches each channel to 0..255, (b, 3, 256) uint8."""
    planes = images.permute(0, 3, 1, 2).contiguous().flatten(2)  # compared many times faster than pixel by pixel
    lowest, highest = planes.amin(2, keepdim=True).float(), planes.amax(2, keepdim=True).float()
    stretched = (levels - lowest).div_((highest - lowest).mul_(1 / 255))
    return torch.where(highest > lowest, stretched, levels).clamp_(0, 255).byte()


def _equalize(levels: Tensor, images: Tensor, _: Tensor) -> Tensor:
    """Makes the levels of each channel equally frequent by Pillow's rule, (b, 3, 256) uint8."""
    entries = _entries(images).long()
    ones = torch.ones(len(entries), device=images.device)
    counts = ones.new_zeros(len(images) * 3 * 256).scatter_add_(0, entries, ones).view(-1, 3, 256)
    up_to = counts.cumsum(2, dtype=torch.int32)
    # pixels darker than the brightest level, shared among 255 steps; floor of a quotient is exact below 2**24 pixels
    steps = (up_to * (up_to < up_to[..., -1:])).amax(2, keepdim=True).float().div_(255).floor_()
    table = (up_to - counts + (steps / 2).floor_()).div_(steps).floor_().clamp_(max=255)
    return torch.where(steps > 0, table, levels).byte()


# ---- by the other channels or the neighbours


def _planes(images: Tensor) -> Tensor:
    """One contiguous plane for each channel, (3, b, H, W) float32."""
    return images.permute(3, 0, 1, 2).contiguous().float()


def _grey(red: Tensor, green: Tensor, blue: Tensor) -> Tensor:
    """Luminance, rounded down, (b, H, W) float32."""
    return (red * 0.2989).add_(green, alpha=0.587).add_(blue, alpha=0.114).floor_()


def _color(images: Tensor, factors: Tensor, _: list[int]) -> Tensor:
    """Blends with the grey levels, (b, H, W, 3) uint8."""
    planes = _planes(images)
    return torch.stack(_blend(planes, _grey(*planes), factors.view(-1, 1, 1)).unbind(), 3)


def _sharpness(images: Tensor, factors: Tensor, _: list[int]) -> Tensor:
    """Blends with the image smoothed by 3 × 3 ones with a 5 in the middle; the border stays, (b, H, W, 3) uint8."""
    count, height, width = images.shape[:3]
    if min(height, width) <= 2:
        return images
    lines = images.view(count, height, width * 3).float()
    sums = (lines[:, :-2] + lines[:, 1:-1]).add_(lines[:, 2:])
    inner = lines[:, 1:-1, 3:-3]
    smooth = (sums[..., :-6] + sums[..., 3:-3]).add_(sums[..., 6:]).add_(inner, alpha=4).mul_(1 / 13).round_()
    inner += smooth.sub_(inner).mul_(1 - factors.view(-1, 1, 1))
    return lines.clamp_(0, 255).byte().view_as(images)


def _hue(images: Tensor, turns: Tensor, _: list[int]) -> Tensor:
    """Turns the colour wheel of the HSV model, (b, H, W, 3) uint8."""
    red, green, blue = planes = _planes(images)
    lowest, highest = planes.amin(0), planes.amax(0)
    span = highest - lowest
    # the hue in sixths of the wheel, times the span; both are 0 where the pixel is grey
    sixths = torch.where(highest == green, blue - red + 2 * span, red - green + 4 * span)
    sixths = torch.where(highest == red, green - blue, sixths)
    sixths = sixths.div_(span.clamp(min=1)).add_(6 * turns.view(-1, 1, 1)).remainder_(6)
    result = []
    for opposite in (3, 5, 1):  # cyan, magenta and yellow, which have no red, green and blue
        distance = (sixths - opposite).abs_()
        missing = torch.minimum(distance, 6 - distance).neg_().add_(2).clamp_(0, 1).mul_(span)
        # torchvision rounds down after a stretch to just below 256
        result.append((highest - missing).mul_(255.999 / 255).byte())
    return torch.stack(result, 3)


# what gives the tables for `levels`, (256,) float32: images (b, H, W, 3) and magnitudes (b, 1, 1)
_TABLES: dict[Operation, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    Operation.BRIGHTNESS: _brightness,
    Operation.CONTRAST: _contrast,
    Operation.POSTERIZE: _posterize,
    Operation.SOLARIZE: _solarize,
    Operation.AUTOCONTRAST: _autocontrast,
    Operation.EQUALIZE: _equalize,
}

# what is computed together: images (b, H, W, 3), magnitudes (b,), and how many there are of each operation
_FAMILIES: dict[tuple[Operation, ...], Callable[[Tensor, Tensor, list[int]], Tensor]] = {
    (
        Operation.SHEAR_X,
        Operation.SHEAR_Y,
        Operation.TRANSLATE_X,
        Operation.TRANSLATE_Y,
        Operation.ROTATE,
    ): _move,
    tuple(_TABLES): _look_up,
    (Operation.COLOR,): _color,
    (Operation.SHARPNESS,): _sharpness,
    (Operation.HUE,): _hue,
}

# the place of each operation once a batch is sorted: families lie together, and what nothing is done to comes first
_RANKS = np.argsort([Operation.IDENTITY, *(operation for family in _FAMILIES for operation in family)])
