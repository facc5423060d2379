"""Random numbers as a function of (seed, epoch, index): the reason why resuming is exact.

A generator has a state that must be saved, and hands its numbers out in the order of asking. A hash has neither: the
same sample in the same epoch is augmented alike whatever the batch size, the number of processes or of workers, and
however often the run was interrupted.
"""

from __future__ import annotations

import numpy as np

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def uniforms(seed: int, epoch: int, indices: np.ndarray, count: int, first: int = 0) -> np.ndarray:
    """The columns `first` to `first + count` of independent uniform numbers for each index, float64 in [0, 1).

    The finaliser of SplitMix64 (Steele, Lea and Flood 2014, doi:10.1145/2660193.2660195), applied in turn to the seed,
    the epoch, the index and the column: a column can be had without the others, (N, count).
    """
    state = _mix(np.array([seed & 0xFFFFFFFFFFFFFFFF], np.uint64))
    state = _mix(state ^ np.array([epoch], np.uint64))
    rows = _mix(state ^ np.asarray(indices).astype(np.uint64))
    cells = _mix(rows[:, None] ^ np.arange(first + 1, first + count + 1, dtype=np.uint64))
    return (cells >> np.uint64(11)).astype(np.float64) * 2.0**-53


def permutation(seed: int, epoch: int, length: int, column: int = 0) -> np.ndarray:
    """A random order of `range(length)`, (length,) int64, a function of seed and epoch; another one for each column."""
    # the complement of the seed: an order that shares no number with the augmentation of the same seed
    return np.argsort(uniforms(~seed, epoch, np.arange(length), 1, column)[:, 0], kind="stable")


def _mix(x: np.ndarray) -> np.ndarray:
    x = x + _GOLDEN
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
