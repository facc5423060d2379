"""Which samples make each batch of an epoch, for each process.

An order hands out views. A view is a sample's index in its split, with the number of its repetition in the bits above
`REPETITION_BIT`, and above `REPEAT_BIT` that of its repeat within a batch: a sample that an epoch shows more than once is
augmented differently each time. The first view of a sample is its index.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

import numpy as np

from project.data.draws import permutation, uniforms
from project.errors import DataError

REPETITION_BIT = 40
REPEAT_BIT = REPETITION_BIT + 16  # beyond any repetition that balancing may give
_INDEX_MASK = (1 << REPETITION_BIT) - 1
_Views = TypeVar("_Views", np.ndarray, np.int64)


def index_of(views: _Views) -> _Views:
    """The samples that `views` show, (B,) int64, or the one that a view shows."""
    return views & _INDEX_MASK


class _Rest(NamedTuple):
    """Division of an epoch that was begun with other batches: the views before `first` are seen, the rest is divided anew.

    epoch: which epoch. first: the batch, as Lightning counts them, that the rest begins with. before: views seen by then.
    """

    epoch: int
    first: int
    before: int


class TrainingOrder:
    """Batches of one process, shuffled anew every epoch, resumable at any batch, also with another batch size.

    The epoch is divided into as few batches as `batch_size` allows, of equal size up to one sample. So none is a tiny
    remainder, every sample is seen once an epoch, and a set smaller than a batch still trains. With `balance` or
    `repeats` an epoch has as many views as samples, and which samples it shows is drawn anew each time.

    Args:
        length: samples in the split.
        batch_size: the largest batch of one process.
        seed: with the epoch's number it determines the order.
        rank: this process, of `world_size`.
        world_size: processes that share each epoch; every one gets the same number of batches.
        labels: (length,) int64, which `balance` needs.
        balance: 0 shows every sample once, 1 every class equally often; in between, a class of frequency f is shown
            in proportion to f ** (1 - balance) (square-root sampling at 0.5; Mahajan et al. 2018, arXiv:1805.00932).
        repeats: views of a sample in one batch, differently augmented (Hoffer et al. 2019, arXiv:1901.09335).

    Raises:
        DataError: there are fewer samples than processes.
    """

    def __init__(
        self,
        length: int,
        batch_size: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        labels: np.ndarray | None = None,
        balance: float = 0.0,
        repeats: int = 1,
    ) -> None:
        if length < world_size:
            raise DataError(f"data: {length} training images cannot feed {world_size} processes; use fewer devices")
        self.length = length
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.labels = labels
        self.balance = balance
        self.repeats = repeats
        # a batch larger by one sample is better than an empty one
        self.num_batches = min(-(-length // (batch_size * world_size)), length // world_size)
        self.largest = batch_size * world_size
        self.epoch = 0
        self._rest: _Rest | None = None

    def __len__(self) -> int:
        return self.num_batches

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning at the start of each epoch."""
        self.epoch = epoch

    def state(self) -> dict[str, int]:
        """The division of the current epoch, for `resume`."""
        rest = self._division()
        return {**rest._asdict(), "epoch": self.epoch, "batches": self.num_batches, "length": self.length}

    def resume(self, state: Mapping[str, Any], done: int) -> int:
        """Continues an epoch after `done` batches, and returns the number of the batch to continue with.

        If the batch size, the number of processes or of samples has changed, the views that are left are divided anew,
        into as few batches as possible, which get the last numbers of the epoch: so every sample is seen once, and
        the epoch ends at the same batch as any other. With another number of samples the order is another, and the
        epoch continues at the same fraction of it.

        Args:
            state: from `state`; one without a division is of an epoch with the batches of now.
            done: batches of the epoch that were trained on, as Lightning counts them.

        Raises:
            DataError: fewer views are left than there are processes.
            ValueError: the state is damaged.
        """
        values = {"epoch": 0, "first": 0, "before": 0, "batches": self.num_batches, "length": self.length, **state}
        if not all(type(value) is int and value >= 0 for value in values.values()):
            raise ValueError("the division of the epoch has something else than counts")
        rest = _Rest(values["epoch"], values["first"], values["before"])
        batches, length, self.epoch = values["batches"], values["length"], rest.epoch
        if not (rest.first <= done < batches and rest.before < length):
            raise ValueError("the place in the epoch is not in it")
        size, larger = divmod(self.length - rest.before, batches - rest.first)
        fits = rest.first == 0 or (
            self.world_size <= size and size + (larger > 0) <= max(self.largest, self.world_size)
        )
        if (batches, length) == (self.num_batches, self.length) and fits:
            self._rest = rest
            return done
        seen = round(_seen(rest, batches, length, done) * self.length / length)
        left = self.length - seen
        if left < self.world_size:
            raise DataError(f"ckpt_path: {left} images are left of the epoch that was begun, too few for {self.world_size} "
                            "processes; resume with fewer devices")  # fmt: skip
        left = min(-(-left // self.largest), left // self.world_size, self.num_batches)
        self._rest = _Rest(rest.epoch, self.num_batches - left, seen)
        return self._rest.first

    @property
    def divided_anew(self) -> bool:
        """Whether the current epoch was begun with other batches."""
        return self._division().before > 0

    def seen(self, batches: int) -> int:
        """Views of the current epoch, of all processes, in its first `batches` batches."""
        return _seen(self._division(), self.num_batches, self.length, batches)

    def _division(self) -> _Rest:
        return self._rest if self._rest and self._rest.epoch == self.epoch else _Rest(self.epoch, 0, 0)

    def batches(self, start: int = 0) -> Iterator[np.ndarray]:
        """The views of each batch of the current epoch, (B,) int64, from batch `start` on."""
        _, first, before = self._division()
        # processes take turns, so that the repetitions of a sample meet in different ones
        for batch in np.array_split(self._views()[before:], self.num_batches - first)[max(start - first, 0) :]:
            mine = batch[self.rank :: self.world_size]
            if self.repeats > 1:  # neighbours are mixed with each other, and are to be of different samples
                mine = np.concatenate([mine[first :: self.repeats] for first in range(self.repeats)])
            yield mine

    def _views(self) -> np.ndarray:
        """The epoch in order, (length,) int64."""
        order = permutation(self.seed, self.epoch, self.length)
        if self.balance:
            order = self._balanced(order)
        if self.repeats > 1:
            first = order[: -(-self.length // self.repeats), None]
            order = (first + (np.arange(self.repeats) << REPEAT_BIT)).ravel()[: self.length]
        return order

    def _balanced(self, order: np.ndarray) -> np.ndarray:
        """`length` views with the classes' shares set; `order` says which samples of a class come first."""
        assert self.labels is not None
        counts = np.bincount(self.labels)
        shares = np.where(counts > 0, counts.astype(float) ** (1 - self.balance), 0.0)
        edges = self.length * np.cumsum(shares) / shares.sum()
        edges[-1] = self.length
        # systematic sampling: whole numbers that are right on average, whatever the number of classes
        ends = np.floor(edges + uniforms(~self.seed, self.epoch, np.array([0]), 1, 1)).ravel().astype(np.int64)
        slots = np.diff(np.minimum(ends, self.length), prepend=0)
        by_class = order[np.argsort(self.labels[order], kind="stable")]
        turn = np.arange(slots.sum()) - np.repeat(np.cumsum(slots) - slots, slots)
        repetition, place = np.divmod(turn, np.repeat(counts, slots))
        views = by_class[np.repeat(np.cumsum(counts) - counts, slots) + place] + (repetition << REPETITION_BIT)
        return views[permutation(self.seed, self.epoch, len(views), 2)]


def _seen(rest: _Rest, batches: int, length: int, done: int) -> int:
    """Views in the first `done` of an epoch's batches, which are of equal size, the first ones up to one view larger."""
    size, larger = divmod(length - rest.before, batches - rest.first)
    return rest.before + (done - rest.first) * size + min(done - rest.first, larger)


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
