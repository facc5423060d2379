"""Small images, decoded once into one uint8 tensor that a run gathers its batches from.

Files are decoded in parallel and kept as `CachedRows`, which later runs read into memory: what happens to the file then
does not matter to them.
"""

from __future__ import annotations

import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from project.data.cache import CachedRows, cache_key
from project.data.images import load_square, to_rgb, to_square
from project.data.progress import track
from project.data.samples import Samples
from project.errors import DataError


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
    home = os.path.expanduser("~")  # stays as it is for a user id without a name or a home
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(home if home != "~" else tempfile.gettempdir(), ".cache")
    return Path(base, "project-images")


def build_store(samples: Samples, size: int, cache_dir: Path, skip_bad: bool, crop: float = 1.0) -> Store:
    """Decodes a split to squares of `size` pixels (the central share `crop` of each image), or reads them from the cache.

    Files that could not be read are tried anew each time: a permission or a network disk may have been the reason.

    Raises:
        DataError: a file cannot be read and `skip_bad` is false, or none can.
    """
    labels = torch.from_numpy(samples.labels)
    if isinstance(samples.images, np.ndarray):
        squares = [to_square(to_rgb(Image.fromarray(image)), size, crop) for image in samples.images]
        return Store(torch.from_numpy(np.stack(squares)), labels, [])
    key = cache_key({"size": size, "crop": crop}, samples)
    rows = CachedRows(cache_dir / f"images-{key}.cache", len(samples), (size, size, 3), np.uint8, "decoded images")
    bad: dict[int, str] = {}

    def decode(images: np.ndarray, missing: np.ndarray) -> np.ndarray:
        bad.update(_decode_into(images, missing, samples, skip_bad, crop))
        return np.array([index for index in missing.tolist() if index not in bad], np.int64)

    images, good = rows.complete(decode)
    store = Store(torch.from_numpy(images), labels, [])
    if bad:
        indices = np.flatnonzero(good)
        store = Store(store.images[indices], labels[indices], [bad[index] for index in sorted(bad)], indices)
    return store


def _decode_into(
    images: np.ndarray, indices: np.ndarray, samples: Samples, skip_bad: bool, crop: float
) -> dict[int, str]:
    """Fills in the images at `indices`; returns what is wrong with each unreadable file, by its index."""
    bad = {}

    def decode(index: int) -> None:
        try:
            images[index] = load_square(samples.images[index], images.shape[1], crop, samples.value_range)
        except DataError as error:
            if not skip_bad:
                raise DataError(f"{samples.split} split: {error}") from None
            bad[index] = str(error)

    with ThreadPoolExecutor(num_cpus()) as pool:
        done = pool.map(decode, indices.tolist())
        try:
            for _ in track(done, f"decoding {samples.split} images", len(indices)):
                pass
        except DataError:
            pool.shutdown(cancel_futures=True)
            raise
    if len(bad) == len(samples):
        raise DataError(f"{samples.split} split: none of its {len(bad)} images can be read; first: {bad[0]}")
    return bad


def readable(samples: Samples, size: int) -> np.ndarray:
    """The indices of files that can be read, ascending (n,) int64; each is decoded once, to squares of `size` pixels."""

    def can_be_read(path: Path) -> bool:
        try:
            load_square(path, size, value_range=samples.value_range)
        except DataError:
            return False
        return True

    with ThreadPoolExecutor(num_cpus()) as pool:
        found = track(
            pool.map(can_be_read, samples.images), f"looking for unreadable {samples.split} images", len(samples)
        )
        return np.flatnonzero(np.fromiter(found, bool, len(samples)))


def num_cpus() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
