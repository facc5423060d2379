"""Image files to RGB squares: the one rule for colour and the one rule for size, in training and in prediction.

Colour: the EXIF rotation is applied; grey, palette, CMYK and other modes become RGB by Pillow's conversion; 16-bit
grey keeps its upper eight bits; transparent pixels are laid over white.

Size: the shorter side is scaled to S (bilinear with antialiasing) and the central S × S square is kept.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from project.errors import DataError

EXTENSIONS = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})


def find_images(folder: Path) -> list[Path]:
    """Every image file below `folder` by its extension, sorted; hidden files and folders are left out."""
    found: list[Path] = []
    seen: set[str] = set()  # a link may lead back up
    for where, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(where)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [Path(where, name) for name in files if is_image_name(name)]
    return sorted(found)


def is_image_name(name: str) -> bool:
    """Whether a file is an image by its extension, and not hidden."""
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in EXTENSIONS


def open_rgb(path: Path, draft_size: int | None = None) -> Image.Image:
    """The image at `path` as RGB by the rule above.

    Args:
        path: an image file.
        draft_size: lets a JPEG be decoded at a reduced scale with no side below twice this, which is many times
            faster for photographs.

    Raises:
        DataError: the file is absent, empty, truncated, not an image or of a mode without a defined white.
    """
    try:
        with Image.open(path) as image:
            if draft_size is not None:
                image.draft(None, (2 * draft_size, 2 * draft_size))
            image.load()
            deep = image.mode == "I" and image.format == "PPM"  # Pillow's mode for 16-bit PGM
            return to_rgb(ImageOps.exif_transpose(_upper_bits(image) if deep else image))
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such file") from None
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    except Exception as error:  # decoders raise anything on damaged bytes: OSError, SyntaxError, struct.error, ...
        if os.path.isfile(path) and os.path.getsize(path) == 0:
            raise DataError(f"{path}: the file is empty (0 bytes); remove or replace it") from None
        reason = "not an image" if isinstance(error, UnidentifiedImageError) else f"damaged: {error}"
        raise DataError(f"{path}: cannot be read ({reason}); remove or replace it") from None


def to_rgb(image: Image.Image) -> Image.Image:
    """`image` in mode RGB by the rule above.

    Raises:
        DataError: a 32-bit mode, which has no defined white.
    """
    if image.mode in ("I", "F"):
        raise DataError(
            f"32-bit images (mode {image.mode}) have no defined white; convert it to 8 or 16 bits a channel"
        )
    if image.mode.startswith("I;16"):
        image = _upper_bits(image)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, image)
    return image.convert("RGB")


def _upper_bits(image: Image.Image) -> Image.Image:
    values = np.asarray(image)
    grey = (values >> 8).astype(np.uint8)
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):  # one 16-bit value, which would fall together with 255 others
        grey[values == transparent] = 255
    return Image.fromarray(grey)


def to_square(image: Image.Image, size: int, crop: float = 1.0) -> np.ndarray:
    """An RGB image as (size, size, 3) uint8 by the rule above; of its central square, the central share `crop`."""
    if image.size != (size, size) or crop != 1:
        width, height = image.size
        side = min(width, height) * crop
        left, top = (width - side) / 2, (height - side) / 2
        # one resampling does both: the central square is the box that is scaled
        image = image.resize((size, size), Image.Resampling.BILINEAR, box=(left, top, left + side, top + side))
    return np.asarray(image)


def load_square(path: Path, size: int, crop: float = 1.0) -> np.ndarray:
    """The image file at `path` as (size, size, 3) uint8. Raises `DataError` as `open_rgb` does."""
    return to_square(open_rgb(path, draft_size=math.ceil(size / crop)), size, crop)


def shorter_sides(paths: Iterable[Path]) -> Iterator[int]:
    """The shorter side of each readable image, in pixels, from the file's header alone."""
    for path in paths:
        try:
            with Image.open(path) as image:
                yield min(image.size)
        except Exception:  # noqa: S112  decoders raise anything on damaged bytes
            continue  # decoding reports it with its split, or skips it where that is asked for
