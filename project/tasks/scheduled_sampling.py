"""How often a captioner goes on from words of its own while it learns."""

from __future__ import annotations

from dataclasses import dataclass

from project.errors import ConfigError


@dataclass(frozen=True)
class ScheduledSampling:
    """Words of its own that a captioner learns to go on from (Bengio et al. 2015, arXiv:1506.03099).

    Args:
        probability: that a word before is one drawn from the captioner's scores instead of the given one, in the end.
        epochs: over which it rises to that, in equal steps from 0.

    Raises:
        ConfigError: a value is out of its range.
    """

    probability: float = 0.0
    epochs: int = 10

    def __post_init__(self) -> None:
        if not 0 <= self.probability <= 1:
            raise ConfigError(f"model.scheduled_sampling.probability: must lie in 0..1; got {self.probability}")
        if self.epochs < 0:
            raise ConfigError(f"model.scheduled_sampling.epochs: must be at least 0; got {self.epochs}")

    def at(self, epoch: int) -> float:
        """The probability in an epoch, counted from 0."""
        return self.probability * (min(epoch / self.epochs, 1.0) if self.epochs else 1.0)
