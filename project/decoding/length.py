"""How hypotheses of different lengths compare."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from torch import Tensor

from project.errors import ConfigError, did_you_mean

Normalisation = Literal["none", "average", "gnmt"]


@dataclass(frozen=True)
class LengthPenalty:
    """The score of a hypothesis as a function of its log-probability and its length, end token included.

    Args:
        name: `none`: the log-probability itself, which prefers short hypotheses; `average`: divided by length^alpha;
            `gnmt`: divided by ((5 + length) / 6)^alpha (Wu et al. 2016, arXiv:1609.08144, equation 14).
        alpha: 0 normalises nothing, and the larger, the longer is what wins.

    Raises:
        ConfigError: there is no such normalisation, or alpha is negative.
    """

    name: Normalisation = "none"
    alpha: float = 1.0

    def __post_init__(self) -> None:
        if self.name not in get_args(Normalisation):
            known = did_you_mean(str(self.name), get_args(Normalisation))
            raise ConfigError(f"model.decoding.length_penalty: there is no '{self.name}'; {known}")
        if not 0 <= self.alpha < float("inf"):
            raise ConfigError(f"model.decoding.length_penalty: its alpha must be 0 or more; got {self.alpha}")

    def normalised(self, log_probability: Tensor, lengths: Tensor | int) -> Tensor:
        """Scores, float in -inf..0 like `log_probability`; `lengths` from 1 on, of the same shape or one for all."""
        if self.name == "average":
            return log_probability / lengths**self.alpha
        if self.name == "gnmt":
            return log_probability / ((5 + lengths) / 6) ** self.alpha
        return log_probability

    def bound(self, log_probability: Tensor, max_length: int) -> Tensor:
        """The best score that any continuation of hypotheses with this log-probability can have.

        A further token adds nothing above 0, and each divisor grows with the length: nothing is better than to get
        longer for free. It is exact in floating point, too, since rounding keeps the order.
        """
        return self.normalised(log_probability, max_length)
