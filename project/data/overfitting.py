"""The order of `trainer.overfit_batches`: a few samples of all classes, the same in every epoch."""

from __future__ import annotations

import numpy as np

from project.data.draws import permutation
from project.data.order import EvaluationOrder


class OverfittingOrder(EvaluationOrder):
    """Batches of one process, shuffled once: a sample of each class, then a second one of each, and so on.

    Files may be sorted by class, and batches of one class are learned without looking at an image.

    Args:
        labels: (length,) int64, of the split.
        batch_size: the largest batch.
        seed: determines the order.
        rank: this process, of `world_size`.
        world_size: processes that share each epoch.
    """

    def __init__(self, labels: np.ndarray, batch_size: int, seed: int, rank: int = 0, world_size: int = 1) -> None:
        super().__init__(len(labels), batch_size, rank, world_size)
        shuffled = permutation(seed, 0, len(labels))
        by_class = np.argsort(labels[shuffled], kind="stable")
        counts = np.bincount(labels)
        turns = np.empty(len(labels), np.int64)  # how many of its class come before a sample
        turns[by_class] = np.arange(len(labels)) - np.repeat(np.cumsum(counts) - counts, counts)
        self.indices = shuffled[np.argsort(turns, kind="stable")][rank::world_size]
