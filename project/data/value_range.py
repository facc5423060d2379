"""Value ranges of grey images with more than 8 bits, found in training images.

Cameras, microscopes and scanners store 10, 12 or 14 bits in files of 16, and other programs store floats. The range is
that of the bits that are in use: 0 to 2 ** b - 1 for the fewest bits b that the largest value takes, and 0 to 1 for floats up
to 1. So 16 bits in full use keep their meaning, and a saturated pixel of 12 bits changes nothing. Where some values are
negative, or all lie within an eighth of that range, it is the smallest and the largest value.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from lightning.pytorch.utilities.rank_zero import rank_zero_info

from project.data.images import ValueRange, grey_levels, is_deep, loaded, opened
from project.data.samples import Samples
from project.data.store import num_cpus
from project.errors import ConfigError, DataError

_FILES = 500  # that are looked at, spread evenly over the split
_SHALLOW = (".jpg", ".jpeg", ".gif", ".webp", ".bmp")  # which 8 bits are all of
_PIXELS = 4096  # of each image, spread evenly, for the number of grey levels
_FEW = 16  # grey levels


class _Values(NamedTuple):
    """Finite values of one image.

    is_grey: whether it is grey of more than 8 bits; otherwise it has colours of 16 bits, of which the upper eight are read.
    some: (n,) float64, a sample.
    """

    path: Path
    is_grey: bool
    is_float: bool
    low: float
    high: float
    some: np.ndarray


def check_value_range(value_range: Sequence[float] | None, option: str) -> ValueRange | None:
    """The range as a pair of floats, also where it comes from a file.

    Raises:
        ConfigError: it is no pair of finite numbers, the smaller one first.
    """
    if value_range is None:
        return None
    if len(value_range) != 2 or not all(map(math.isfinite, value_range)) or not value_range[0] < value_range[1]:
        raise ConfigError(f"{option}: must be two numbers, those of black and of white, such as [0, 4095]; got "
                          f"{list(value_range)}")  # fmt: skip
    return float(value_range[0]), float(value_range[1])


def find_value_range(samples: Samples) -> ValueRange | None:
    """The range of training images by the rule above, said in one line; None where all have 8 bits.

    Args:
        samples: the split, of which some 500 files, spread evenly, are looked at. Unreadable ones are left out.

    Raises:
        DataError: some have integers and others floats.
    """
    images = samples.images
    if isinstance(images, np.ndarray):
        return None
    paths = [path for path in images[:: max(1, len(images) // _FILES)] if path.suffix.lower() not in _SHALLOW]
    with ThreadPoolExecutor(num_cpus()) as pool:
        found = [values for values in pool.map(_values_of, paths) if values is not None]
    if line := _dark_colours([values for values in found if not values.is_grey]):
        rank_zero_info(line)
    found = [values for values in found if values.is_grey]
    if not found:
        return None
    kinds = {values.is_float: values.path for values in found}
    if len(kinds) == 2:
        raise DataError(f"data: {kinds[False]} has integers and {kinds[True]} floats, and no range fits both; convert one kind, "
                        "or give the range with --data.value_range [BLACK,WHITE]")  # fmt: skip
    low, high = min(values.low for values in found), max(values.high for values in found)
    value_range = range_of(low, high)
    line = (f"data.value_range: [{value_range[0]:g}, {value_range[1]:g}], which become black and white; found in {len(found)} "
            f"training images with more than 8 bits, whose values are {low:g} to {high:g}")  # fmt: skip
    levels = grey_levels(np.concatenate([values.some for values in found]), value_range)
    darkest, brightest = np.percentile(levels, [1, 99])
    if brightest - darkest < _FEW:
        line += (f"; 98 % of their pixels have {brightest - darkest + 1:.0f} of the 256 grey levels, and more with a narrower "
                 "range that you give")  # fmt: skip
    rank_zero_info(line)
    return value_range


def range_of(low: float, high: float) -> ValueRange:
    """The range by the rule above, of the smallest and the largest value."""
    most = max(2.0 ** math.ceil(high).bit_length() - 1, 1.0)
    if low >= 0 and (low == high or high - low >= most / 8):
        return 0.0, most
    return low, high if low < high else low + 1


def _values_of(path: Path) -> _Values | None:
    """Values of an image with more than 8 bits; None of others, and of unreadable ones, which decoding reports."""
    try:
        with opened(path) as image:
            is_grey = is_deep(image)
            if not is_grey and not any(";16" in str(tile) for tile in image.tile):  # type: ignore[attr-defined]
                return None
        with loaded(path) as image:
            values = np.asarray(image).ravel()
    except Exception:  # decoders raise anything on damaged bytes
        return None
    values = values[np.isfinite(values)]
    if not len(values):
        return None
    some = values[:: max(1, len(values) // _PIXELS)].astype(np.float64)
    return _Values(path, is_grey, values.dtype.kind == "f", float(values.min()), float(values.max()), some)


def _dark_colours(found: list[_Values]) -> str | None:
    """A line where colours of 16 bits, of which Pillow reads the upper eight, use the lower ones, as 12 bits do."""
    brightest = max((values.high for values in found), default=255)
    if brightest >= 64:
        return None
    return (f"data: {found[0].path} and others have colours of 16 bits, of which the upper eight are read, and these are at most "
            f"{brightest:g} of 255 here; convert them to 8 bits, or to grey")  # fmt: skip
