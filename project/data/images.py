"""Image files to RGB squares: the one rule for colour and the one rule for size, in training and in prediction.

Colour: the EXIF rotation is applied; grey, palette, CMYK and other modes become RGB by Pillow's conversion; 16-bit
grey keeps its upper eight bits; transparent pixels are laid over white.

Size: the shorter side is scaled to S (bilinear with antialiasing) and the central S × S square is kept.

Limits: only regular files are opened, and only as the formats below, of which none starts another program to decode. The
decoders, one in each worker process, take at most half of the free memory together, and no image more than 8 GiB: a
gigapixel, at 8 bytes per pixel for itself and its RGB copy, or half of that with transparency. A JPEG counts at the
reduced scale that it is decoded at, unless it is progressive.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from threading import Lock

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from torch.utils.data import get_worker_info

from project.errors import DataError
from project.files import open_regular, read_text

EXTENSIONS = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})
_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
_MOST = 8 * 2**30  # bytes of a decoded image
_LARGE = 2**28  # bytes of one that waits for the other large ones of its process

Image.MAX_IMAGE_PIXELS = None  # Pillow's own limit, which a scan exceeds; `_room_for` knows the memory
_one_large_image = Lock()
if hasattr(os, "register_at_fork"):  # a thread may hold it when a worker is forked
    os.register_at_fork(after_in_child=lambda: globals().update(_one_large_image=Lock()))


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
        with _open(path) as image:
            whole = image.size
            if draft_size is not None:
                image.draft(None, (2 * draft_size, 2 * draft_size))
            with _room_for(image, whole if "progressive" in image.info else image.size):
                image.load()
                deep = image.mode == "I" and image.format == "PPM"  # Pillow's mode for 16-bit PGM
                image = _upper_bits(image) if deep else image
                ImageOps.exif_transpose(image, in_place=True)
                return to_rgb(image)
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such file") from None
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    except Exception as error:  # decoders raise anything on damaged bytes: OSError, SyntaxError, struct.error, ...
        if os.path.isfile(path) and os.path.getsize(path) == 0:
            raise DataError(f"{path}: the file is empty (0 bytes); remove or replace it") from None
        raise DataError(f"{path}: cannot be read ({_reason(error)}); remove or replace it") from None


@contextmanager
def _open(path: Path) -> Iterator[Image.Image]:
    with open_regular(path) as file, Image.open(file, formats=_FORMATS) as image:
        yield image


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return f"not an image in one of the formats {', '.join(_FORMATS)}"
    if isinstance(error, OSError) and error.errno:  # the file itself, such as a FIFO or one without permission
        return error.strerror or str(error)
    return "out of memory" if isinstance(error, MemoryError) else f"damaged: {error}"


@contextmanager
def _room_for(image: Image.Image, size: tuple[int, int]) -> Iterator[None]:
    """Inside it an image may be decoded, which has `size` then; refuses it by the rule above."""
    needed = math.prod(size) * (16 if image.has_transparency_data else 8)
    with _one_large_image if needed > _LARGE else nullcontext():
        worker = get_worker_info()
        limit = min(_MOST, free_memory() // 2 // (worker.num_workers if worker else 1)) if needed > _LARGE else needed
        if needed > limit:
            raise DataError(f"its {size[0]:,} x {size[1]:,} pixels take {needed / 2**30:.1f} GiB to decode, and the limit is "
                            f"{limit / 2**30:.1f} GiB (half of the free memory, shared by data.num_workers, and never above "
                            "8); scale it down, or remove it if it is a decompression bomb")  # fmt: skip
        yield


def free_memory() -> int:
    """Bytes that may still be taken: the machine's free ones, or all of its container's where these are fewer."""
    free = 2 * _MOST  # where nothing is known
    with suppress(OSError, StopIteration, ValueError):
        lines = read_text("/proc/meminfo").splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    for limit in ("memory.max", "memory/memory.limit_in_bytes"):  # of versions 2 and 1; `max` stands for none
        with suppress(OSError, ValueError):
            free = min(free, int(read_text(f"/sys/fs/cgroup/{limit}")))
    return free


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
            with _open(path) as image:
                yield min(image.size)
        except Exception:  # noqa: S112  decoders raise anything on damaged bytes
            continue  # decoding reports it with its split, or skips it where that is asked for
