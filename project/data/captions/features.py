"""Features of a whole split, computed once by a network that does not change.

Shapes: B of N images, L places of the grid, D features at each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from project.data.batch import Batch
from project.data.cache import CachedRows
from project.data.loaders import Loader
from project.data.order import EvaluationOrder, TrainingOrder, index_of
from project.errors import DataError

FeatureTable: TypeAlias = Callable[[np.ndarray], np.ndarray]
"""Features (B, L, D) float16 of the images (B,) int64."""


def keep_features(rows: CachedRows, features: Callable[[], Iterator[Tensor]], memory_gib: float) -> FeatureTable:
    """Features of N images, from the cache or else computed and kept there, or in memory where that cannot be.

    Args:
        rows: (N, L, D) float16.
        features: begins to compute them: (B, L, D) at a time, in order.
        memory_gib: the most that may be kept in memory.

    Raises:
        DataError: the cache cannot be written, and they are larger than that.
    """
    if rows.is_complete():
        return rows.get
    rows.create()
    if not rows.problem:
        try:
            done = 0
            for part in features():
                rows.write(np.arange(done, done + len(part)), part.half().cpu().numpy())
                done += len(part)
            assert done == rows.shape[0], "features of another split"
        except BaseException:
            rows.remove()  # the disk space of all of them is taken
            raise
    if not rows.problem:
        return rows.get
    rows.remove()
    if rows.num_bytes > memory_gib * 2**30:
        raise DataError(f"data.cache_dir: features of {rows.num_bytes / 2**30:.2g} GiB cannot be kept in {rows.path.parent} "
                        f"({rows.problem}), and data.resident_gib is {memory_gib:g}; name a directory with more room, or "
                        "set data.cache_features to false")  # fmt: skip
    values, done = np.empty(rows.shape, rows.dtype), 0
    for part in features():
        values[done : done + len(part)] = part.half().cpu().numpy()
        done += len(part)
    return values.__getitem__


class FeatureLoader(Loader):
    """Yields features in the place of images.

    Args:
        features: of all images.
        order: which samples make each batch.
        pin_memory: whether batches are made ready for an asynchronous copy to a GPU.
    """

    def __init__(
        self, features: FeatureTable, order: TrainingOrder | EvaluationOrder, pin_memory: bool = False
    ) -> None:
        super().__init__(order)
        self.features = features
        self.pin_memory = pin_memory

    def _batches(self, start: int) -> Iterator[Batch]:
        for views in self.order.batches(start):
            indices = index_of(views)
            features, numbers = torch.from_numpy(self.features(indices)), torch.from_numpy(indices)
            if self.pin_memory:
                features, numbers = features.pin_memory(), numbers.pin_memory()
            yield Batch(features, torch.zeros_like(numbers), numbers)
