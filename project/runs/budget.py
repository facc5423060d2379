"""How long to train, when it depends on the size of the set or on the progress."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Budget:
    """A number of images to see instead of a number of epochs; `trainer.max_epochs` or `max_steps` override it.

    Args:
        images: training images to see in the whole run, each repetition counted.
        min_epochs: however large the set.
        max_epochs: however small the set.
    """

    images: int | None = None
    min_epochs: int = 1
    max_epochs: int = 1000

    def epochs(self, length: int) -> int:
        """Epochs of a set of `length` images, where a number of images is given."""
        assert self.images is not None
        return min(max(math.ceil(self.images / length), self.min_epochs), self.max_epochs)


@dataclass(frozen=True)
class EarlyStoppingOptions:
    """When to stop before the last epoch.

    Args:
        patience: validations without a better value of the monitored metric; without it, training runs to the end.
        min_delta: a smaller change is not better.
    """

    patience: int | None = None
    min_delta: float = 0.0
