"""Small images, decoded once into one uint8 tensor that a run gathers its batches from.

Files are decoded in parallel into a `.npy` that later runs map into memory. It is keyed by the paths, sizes and times
of its sources and written to a temporary name first, so it is either right or absent.
"""

from __future__ import annotations

import hashlib
import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from project.data.images import load_square, to_rgb, to_square
from project.data.progress import track
from project.data.samples import Samples
from project.errors import DataError
from project.files import remove_abandoned, temporary_path
from project.text import print_lines

_FORMAT = 1  # of the cached files: raise it when decoding gives other pixels


@dataclass(frozen=True)
class Store:
    """One split's decoded images.

    images: (N, S, S, 3) uint8.
    labels: (N,) int64.
    skipped: one line for each file that could not be read and was left out.
    indices: (N,) int64, each image's index in its split; without it, they are all there.
    """

    images: Tensor
    labels: Tensor
    skipped: list[str]
    indices: np.ndarray | None = None


def default_cache_dir() -> Path:
    """Where decoded images are kept: `$XDG_CACHE_HOME/project-images`, or `~/.cache/project-images`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "project-images")


def build_store(samples: Samples, size: int, cache_dir: Path, skip_bad: bool, crop: float = 1.0) -> Store:
    """Decodes a split to squares of `size` pixels (the central share `crop` of each image), or maps it from the cache.

    Raises:
        DataError: a file cannot be read and `skip_bad` is false, or none can.
    """
    labels = torch.from_numpy(samples.labels)
    if isinstance(samples.images, np.ndarray):
        squares = [to_square(to_rgb(Image.fromarray(image)), size, crop) for image in samples.images]
        return Store(torch.from_numpy(np.stack(squares)), labels, [])
    cached = cache_dir / f"{_key(samples, size, skip_bad, crop)}.npy"
    kept = _read(cached, (len(samples), size, size, 3))
    if kept is None:
        try:
            cache_dir.mkdir(parents=True, exist_ok=True)
            _decode_to(cached, samples, size, skip_bad, crop)
            kept = _read(cached, (len(samples), size, size, 3))
        except OSError as error:
            print_lines(f"decoded images are not kept: {cache_dir} cannot be written ({error.strerror or error})")
    if kept is None:
        images = np.empty((len(samples), size, size, 3), np.uint8)
        return _without_bad(images, labels, _decode_into(images, samples, skip_bad, crop))
    images, bad = kept
    return _without_bad(images, labels, _still_bad(images, samples, bad, crop))


def _read(cached: Path, shape: tuple[int, ...]) -> tuple[np.ndarray, dict[str, str]] | None:
    """What is kept, and what could not be read then; None where it is absent, cut off, or half of it is deleted."""
    try:
        # copy-on-write: torch wants a writable buffer, and nothing reaches the file
        images = np.load(cached, mmap_mode="c")
        bad = json.loads(cached.with_suffix(".json").read_text("utf-8"))
    except (OSError, ValueError, EOFError):
        return None
    return (images, bad) if images.shape == shape and images.dtype == np.uint8 else None


def _still_bad(images: np.ndarray, samples: Samples, bad: dict[str, str], crop: float) -> dict[str, str]:
    """Those that cannot be read now either: a permission or a network disk may have been the reason."""
    still = {}
    for index in bad:
        try:
            images[int(index)] = load_square(samples.images[int(index)], images.shape[1], crop)
        except DataError as error:
            still[index] = str(error)
    return still


def _key(samples: Samples, size: int, skip_bad: bool, crop: float) -> str:
    digest = hashlib.sha256(f"{_FORMAT} {size} {skip_bad} {crop}".encode())
    for path in samples.images:
        digest.update(os.fsencode(os.path.abspath(path)))
        digest.update(str(file_state(path)).encode())
    return digest.hexdigest()[:32]


def _decode_to(target: Path, samples: Samples, size: int, skip_bad: bool, crop: float) -> None:
    remove_abandoned(target.parent)
    name = str(temporary_path(target))
    try:
        images = np.lib.format.open_memmap(name, "w+", np.uint8, (len(samples), size, size, 3))
        if hasattr(os, "posix_fallocate"):  # a full disk is an error now, and not a SIGBUS at some later pixel
            with open(name, "r+b") as file:
                os.posix_fallocate(file.fileno(), 0, os.path.getsize(name))
        bad = _decode_into(images, samples, skip_bad, crop)
        images.flush()
        del images
        listing = f"{name}.json"
        Path(listing).write_text(json.dumps(bad), "utf-8")
        os.replace(listing, target.with_suffix(".json"))
        os.replace(name, target)
    finally:
        for leftover in (name, f"{name}.json"):
            Path(leftover).unlink(missing_ok=True)


def _decode_into(images: np.ndarray, samples: Samples, skip_bad: bool, crop: float) -> dict[str, str]:
    """Fills `images`; returns what is wrong with each unreadable file, by its index (text, as JSON has it)."""
    bad = {}

    def decode(index: int) -> None:
        try:
            images[index] = load_square(samples.images[index], images.shape[1], crop)
        except DataError as error:
            if not skip_bad:
                raise DataError(f"{samples.split} split: {error}") from None
            bad[str(index)] = str(error)

    with ThreadPoolExecutor(num_cpus()) as pool:
        done = pool.map(decode, range(len(samples)))
        try:
            for _ in track(done, f"decoding {samples.split} images", len(samples)):
                pass
        except DataError:
            pool.shutdown(cancel_futures=True)
            raise
    if len(bad) == len(samples):
        raise DataError(f"{samples.split} split: none of its {len(bad)} images can be read; first: {bad['0']}")
    return bad


def _without_bad(images: np.ndarray, labels: Tensor, bad: dict[str, str]) -> Store:
    tensor = torch.from_numpy(images)
    if bad:
        good = np.array([i for i in range(len(tensor)) if str(i) not in bad])
        return Store(tensor[good], labels[good], [bad[i] for i in sorted(bad, key=int)], good)
    return Store(tensor, labels, [])


def file_state(path: Path) -> tuple[int, int]:
    """Size in bytes and time of change in ns; -1 for a file that is not there, such as a broken link's."""
    try:
        status = os.stat(path)
    except OSError:
        return -1, -1
    return status.st_size, status.st_mtime_ns


def num_cpus() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
