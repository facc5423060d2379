"""Image files to RGB squares: the one rule for colour and the one rule for size, in training and in prediction.

Colour: the EXIF rotation is applied; grey, palette, CMYK and other modes become RGB by Pillow's conversion; transparent
pixels are laid over white. Grey of more than 8 bits becomes 256 levels of equal width between the two values of a range,
which `project.data.value_range` finds in the training images; without one, 16-bit grey keeps its upper eight bits.

Size: the shorter side is scaled to S (bilinear with antialiasing) and the central S × S square is kept.

Limits: only regular files are opened, and only as the formats below, of which none starts another program to decode. The
decoders, one in each worker process, take at most half of the free memory together, and no image more than 8 GiB: a
gigapixel, at 8 bytes per pixel for itself and its RGB copy, or half of that with transparency. A JPEG counts at the
reduced scale that it is decoded at, unless it is progressive.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from threading import Lock

import numpy as np
from PIL import ExifTags, Image, PngImagePlugin, UnidentifiedImageError, features
from torch.utils.data import get_worker_info

from project.data.file_warnings import named_warnings
from project.errors import DataError
from project.files import open_regular, read_text

ValueRange = tuple[float, float]
"""The values of grey images with more than 8 bits that become black and white."""

_ENDINGS = {
    "BMP": (".bmp", ".dib"),
    "GIF": (".gif",),
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".pjpeg", ".pjp"),
    "PNG": (".png", ".apng"),
    "PPM": (".pbm", ".pgm", ".pnm", ".ppm"),
    "TIFF": (".tif", ".tiff"),
    "WEBP": (".webp",),
} | ({"AVIF": (".avif",)} if features.check("avif") else {})
_FORMATS = tuple(_ENDINGS)
EXTENSIONS = frozenset(ending for endings in _ENDINGS.values() for ending in endings)
_NOT_IMAGES = frozenset({
    "@eadir", "@recycle", "@recently-snapshot", "#recycle", "#snapshot", "$recycle.bin", "system volume information",
    "lost+found", "__macosx", "__pycache__",
})  # fmt: skip
"""Directories, in lower case, of network drives and operating systems: thumbnails, copies, and what was deleted."""
_WHOLE: ValueRange = (0, 2**16 - 1)  # whose 256 levels are the upper eight bits
_MOST = 8 * 2**30  # bytes of a decoded image
_LARGE = 2**28  # bytes of one that waits for the other large ones of its process
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

Image.MAX_IMAGE_PIXELS = None  # Pillow's own limit, which a scan exceeds; `_room_for` knows the memory
# texts and colour profiles of a PNG; beyond 1 MiB each, as editors write them, Pillow refuses the image
PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY
_one_large_image = Lock()
if hasattr(os, "register_at_fork"):  # a thread may hold it when a worker is forked
    os.register_at_fork(after_in_child=lambda: globals().update(_one_large_image=Lock()))


def find_images(folder: Path, left_out: Counter[str] | None = None) -> list[Path]:
    """Every image file below `folder` by its extension, sorted.

    Hidden files and directories are left out, and directories that network drives and operating systems make.

    Args:
        folder: where to look, to the bottom.
        left_out: counts the endings of all other files.
    """
    found: list[Path] = []
    seen: set[str] = set()  # a link may lead back up
    for where, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(where)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if is_data_directory(name))
        found += [Path(where, name) for name in files if is_image_name(name)]
        if left_out is not None:
            left_out.update(
                os.path.splitext(name)[1].lower() for name in files if not (is_image_name(name) or name.startswith("."))
            )
    return sorted(found)


def is_data_directory(name: str) -> bool:
    """Whether a directory may hold images of a data set: it is neither hidden nor made by a drive or a system."""
    return not name.startswith(".") and name.lower() not in _NOT_IMAGES


def is_image_name(name: str) -> bool:
    """Whether a file is an image by its extension, and not hidden."""
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in EXTENSIONS


def open_rgb(path: Path, draft_size: int | None = None, value_range: ValueRange | None = None) -> Image.Image:
    """The image at `path` as RGB by the rule above.

    Args:
        path: an image file.
        draft_size: lets a JPEG be decoded at a reduced scale with no side below twice this, which is many times
            faster for photographs.
        value_range: of grey images with more than 8 bits; without it, those of 16 bits keep their upper eight.

    Raises:
        DataError: the file is absent, empty, truncated, not an image or of a mode without a defined white.
    """
    with loaded(path, draft_size) as image:
        if image.format == "PPM" and value_range is None:  # Pillow's mode for 16-bit PGM is that of 32-bit integers
            value_range = _WHOLE
        return upright(to_rgb(image, value_range), orientation_of(image))


@contextmanager
def loaded(path: Path, draft_size: int | None = None) -> Iterator[Image.Image]:
    """Inside it, the decoded image at `path` in its own mode, as it lies in the file.

    Args:
        path: see `open_rgb`, and for the errors.
        draft_size: likewise.
    """
    try:
        with opened(path) as image:
            whole = image.size
            if draft_size is not None:
                image.draft(None, (2 * draft_size, 2 * draft_size))
            with _room_for(image, whole if "progressive" in image.info else image.size):
                image.load()
                yield image
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such file") from None
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    except Exception as error:  # decoders raise anything on damaged bytes: OSError, SyntaxError, struct.error, ...
        if os.path.isfile(path) and os.path.getsize(path) == 0:
            raise DataError(f"{path}: the file is empty (0 bytes); remove or replace it") from None
        raise DataError(f"{path}: cannot be read ({_reason(error)}); remove or replace it") from None


@contextmanager
def opened(path: Path) -> Iterator[Image.Image]:
    """Inside it, the image at `path` of which the header is read. Decoders raise anything on damaged bytes."""
    with named_warnings(path), open_regular(path) as file, Image.open(file, formats=_FORMATS) as image:
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
    needed = math.prod(size) * (24 if _is_32_bit(image) else 16 if image.has_transparency_data else 8)
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


def orientation_of(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; 1 where EXIF is damaged, which no pixel depends on."""
    with suppress(Exception):  # parsers raise anything on damaged bytes
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
        return orientation if orientation in _TURNS else 1
    return 1


def upright(image: Image.Image, orientation: int) -> Image.Image:
    """The image turned as an EXIF orientation says. EXIF is not written again: much that can be read cannot be."""
    return image.transpose(_TURNS[orientation]) if orientation in _TURNS else image


def to_rgb(image: Image.Image, value_range: ValueRange | None = None) -> Image.Image:
    """`image` in mode RGB by the rule above.

    Raises:
        DataError: a 32-bit mode without a range, which has no defined white.
    """
    if is_deep(image):
        if value_range is None and _is_32_bit(image):
            raise DataError(f"32-bit images (mode {image.mode}) have no defined white, and no value range is known, which "
                            "training on such images finds; convert it to 8 or 16 bits per channel")  # fmt: skip
        image = _eight_bits(image, value_range or _WHOLE)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, image)
    return image.convert("RGB")


def is_deep(image: Image.Image) -> bool:
    """Whether a grey image has more than 8 bits: 16-bit integers, 32-bit integers or floats."""
    return image.mode.startswith("I;16") or _is_32_bit(image)


def _is_32_bit(image: Image.Image) -> bool:
    return image.mode in ("I", "F")


def _eight_bits(image: Image.Image, value_range: ValueRange) -> Image.Image:
    values = np.asarray(image)
    if values.dtype.itemsize == 2:  # a table is faster
        grey = grey_levels(np.arange(2**16), value_range)[values]
    else:
        grey = grey_levels(values, value_range)
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):  # one value, which would fall together with others
        grey[values == transparent] = 255
    return Image.fromarray(grey)


def grey_levels(values: np.ndarray, value_range: ValueRange) -> np.ndarray:
    """Values of any dtype as uint8: 256 levels of equal width between the two of the range; NaN is black."""
    low, high = value_range
    scaled = values.astype(np.float64)
    with np.errstate(over="ignore"):
        scaled -= low
        scaled *= 256
        scaled /= high - low
    np.nan_to_num(scaled, copy=False, nan=0, posinf=255, neginf=0)
    return np.clip(scaled, 0, 255, out=scaled).astype(np.uint8)


def to_square(image: Image.Image, size: int, crop: float = 1.0) -> np.ndarray:
    """An RGB image as (size, size, 3) uint8 by the rule above; of its central square, the central share `crop`."""
    if image.size != (size, size) or crop != 1:
        width, height = image.size
        side = min(width, height) * crop
        left, top = (width - side) / 2, (height - side) / 2
        # one resampling does both: the central square is the box that is scaled
        image = image.resize((size, size), Image.Resampling.BILINEAR, box=(left, top, left + side, top + side))
    return np.asarray(image)


def load_square(path: Path, size: int, crop: float = 1.0, value_range: ValueRange | None = None) -> np.ndarray:
    """The image file at `path` as (size, size, 3) uint8. Raises `DataError` as `open_rgb` does."""
    return to_square(open_rgb(path, math.ceil(size / crop), value_range), size, crop)


def shorter_sides(paths: Iterable[Path]) -> Iterator[int]:
    """The shorter side of each readable image, in pixels, from the file's header alone."""
    for path in paths:
        try:
            with opened(path) as image:
                yield min(image.size)
        except Exception:  # noqa: S112  decoders raise anything on damaged bytes
            continue  # decoding reports it with its split, or skips it where that is asked for
