"""Images as a caller of `Task.predict` gives them, as squares of a network's size."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from project.data.images import ValueRange, load_square, orientation_of, to_rgb, to_square, upright
from project.errors import DataError

Picture = str | Path | Image.Image | np.ndarray
"""A path, an image, or an array (H, W) or (H, W, 3) uint8."""


def as_list(pictures: Picture | Sequence[Picture]) -> Sequence[Picture]:
    """One picture as a list of one; several as they are, also as one array (N, H, W, 3)."""
    alone = isinstance(pictures, (str, Path, Image.Image)) or (isinstance(pictures, np.ndarray) and pictures.ndim < 4)
    return [pictures] if alone else pictures  # type: ignore[list-item, return-value]  # mypy cannot follow


def square_of(picture: Picture, size: int, center_crop: float, value_range: ValueRange | None = None) -> np.ndarray:
    """A picture as RGB, (size, size, 3) uint8.

    Args:
        picture: of any size and mode.
        size: pixels of a side.
        center_crop: fraction of the shorter side that the square has.
        value_range: grey values of images with more than 8 bits that become black and white.

    Raises:
        DataError: it is no image, or a file that cannot be read as one.
    """
    if isinstance(picture, (str, Path)):
        return load_square(Path(picture), size, center_crop, value_range)
    if isinstance(picture, np.ndarray):
        if picture.dtype != np.uint8 or not (picture.ndim == 2 or (picture.ndim == 3 and picture.shape[2] in (3, 4))):
            raise DataError(f"images: an array must be uint8 (H, W) or (H, W, 3); got {picture.dtype} {picture.shape}")
        image = Image.fromarray(picture)
    elif isinstance(picture, Image.Image):
        image = upright(picture, orientation_of(picture))
    else:
        raise DataError(f"images: must be paths, PIL images or uint8 arrays; got a {type(picture).__name__}")
    return to_square(to_rgb(image, value_range), size, center_crop)
