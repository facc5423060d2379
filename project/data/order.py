"""Which samples make each batch of an epoch, for each process."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from project.data.draws import permutation
from project.errors import DataError


class TrainingOrder:
    """Batches of one process, shuffled anew every epoch, resumable at any batch.

    The epoch is divided into as few batches as `batch_size` allows, of equal size up to one sample. So none is a tiny
    remainder, every sample is seen once an epoch, and a set smaller than a batch still trains.

    Args:
        length: samples in the split.
        batch_size: the largest batch of one process.
        seed: with the epoch's number it determines the order.
        rank: this process, of `world_size`.
        world_size: processes that share each epoch; every one gets the same number of batches.

    Raises:
        DataError: there are fewer samples than processes.
    """

    def __init__(self, length: int, batch_size: int, seed: int, rank: int = 0, world_size: int = 1) -> None:
        if length < world_size:
            raise DataError(f"data: {length} training images cannot feed {world_size} processes; use fewer devices")
        self.length = length
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        # a batch larger by one sample is better than an empty one
        self.num_batches = min(-(-length // (batch_size * world_size)), length // world_size)
        self.epoch = 0

    def __len__(self) -> int:
        return self.num_batches

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning at the start of each epoch."""
        self.epoch = epoch

    def batches(self, start: int = 0) -> Iterator[np.ndarray]:
        """The indices of each batch of the current epoch, (B,) int64, from batch `start` on."""
        order = permutation(self.seed, self.epoch, self.length)
        parts = np.array_split(order, self.num_batches * self.world_size)
        yield from parts[self.rank :: self.world_size][start:]


class EvaluationOrder:
    """The samples of one process in their own order: every sample is in exactly one process's batches."""

    def __init__(self, length: int, batch_size: int, rank: int = 0, world_size: int = 1) -> None:
        self.indices = np.arange(rank, length, world_size)
        self.batch_size = batch_size

    def __len__(self) -> int:
        return -(-len(self.indices) // self.batch_size)

    def batches(self, start: int = 0) -> Iterator[np.ndarray]:
        """The indices of each batch, (B,) int64, from batch `start` on."""
        for first in range(start * self.batch_size, len(self.indices), self.batch_size):
            yield self.indices[first : first + self.batch_size]
