"""Features of a whole split, computed once by a network that does not change.

Shapes: N images, L places of the grid, D features at each.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from project.data.batch import Batch
from project.data.loaders import Loader
from project.data.order import EvaluationOrder, TrainingOrder, index_of
from project.errors import DataError
from project.files import temporary_path


def write_features(path: Path, count: int, features: Callable[[], Iterator[Tensor]]) -> None:
    """Writes features to a `.npy` file (N, L, D) float16, unless a whole one is there.

    The file appears in one step, so a killed run leaves none that looks whole. Its name must say what the features are
    of and by which network, so that others are never taken for them.

    Args:
        path: the file.
        count: N.
        features: begins to compute them: (B, L, D) at a time, in order.

    Raises:
        DataError: the folder cannot be written, or is full.
    """
    if _is_whole(path, count):
        return
    temporary = temporary_path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        target, done = None, 0
        for part in features():
            if target is None:
                target = np.lib.format.open_memmap(str(temporary), "w+", np.float16, (count, *part.shape[1:]))
                if hasattr(os, "posix_fallocate"):  # a full disk is an error now, and not a SIGBUS at some later image
                    with open(temporary, "r+b") as file:
                        os.posix_fallocate(file.fileno(), 0, os.path.getsize(temporary))
            target[done : done + len(part)] = part.half().cpu().numpy()
            done += len(part)
        assert target is not None, "features of nothing"
        assert done == count, "features of another split"
        target.flush()
        del target
        os.replace(temporary, path)
    except OSError as error:
        raise DataError(f"data.cache_dir: features cannot be kept in {path.parent} ({error.strerror or error}); name a "
                        "folder with more room, or set data.cache_features to false") from None  # fmt: skip
    finally:
        temporary.unlink(missing_ok=True)


def _is_whole(path: Path, count: int) -> bool:
    try:
        return len(np.load(path, mmap_mode="r")) == count
    except (OSError, EOFError, ValueError):  # not there, or cut off
        return False


class FeatureLoader(Loader):
    """Yields features from disk in the place of images.

    Args:
        path: of `write_features`.
        order: which samples make each batch.
        pin_memory: whether batches are made ready for an asynchronous copy to a GPU.
    """

    def __init__(self, path: Path, order: TrainingOrder | EvaluationOrder, pin_memory: bool = False) -> None:
        super().__init__(order)
        self.features = np.load(path, mmap_mode="r")
        self.pin_memory = pin_memory

    def _batches(self, start: int) -> Iterator[Batch]:
        for views in self.order.batches(start):
            indices = index_of(views)
            features, numbers = torch.from_numpy(self.features[indices]), torch.from_numpy(indices)
            if self.pin_memory:
                features, numbers = features.pin_memory(), numbers.pin_memory()
            yield Batch(features, torch.zeros_like(numbers), numbers)
