"""What a search returns.

Shapes: B images, N hypotheses of each, T tokens.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Hypotheses(NamedTuple):
    """Hypotheses of a batch of images."""

    tokens: Tensor
    """(B, N, T) int64, without the start token, and `end` from the end on."""
    log_probs: Tensor
    """(B, N, T) float32, each token's under the model, as teacher forcing gives it; 0 after the end."""
    lengths: Tensor
    """(B, N) int64, with the end token; 0 where there is no such hypothesis."""
    finished: Tensor
    """(B, N) bool: whether it ended by itself, or was cut at the greatest length."""
    scores: Tensor
    """(B, N) float32: the log-probability, normalised; -inf where there is no such hypothesis, or it is impossible."""

    @property
    def log_probability(self) -> Tensor:
        """Of the whole hypothesis, (B, N) float32; -inf where there is none."""
        return self.log_probs.sum(dim=2).masked_fill(self.lengths == 0, -torch.inf)

    def word_ids(self) -> list[list[list[int]]]:
        """The tokens before the end, for each image and hypothesis; waits for the device."""
        counts = (self.lengths - self.finished.long()).tolist()
        return [
            [tokens[:count] for tokens, count in zip(*image, strict=True)]
            for image in zip(self.tokens.tolist(), counts, strict=True)
        ]

    def trimmed(self) -> Hypotheses:
        """Without what all of them leave empty: T is the greatest length. Waits for the device."""
        longest = max(int(self.lengths.max()), 1)
        return self._replace(
            tokens=self.tokens[:, :, :longest].contiguous(), log_probs=self.log_probs[:, :, :longest].contiguous()
        )

    def without_impossible(self, threshold: float) -> Hypotheses:
        """The same, where all log-probabilities and scores of at most `threshold` are -inf."""
        return self._replace(
            log_probs=self.log_probs.masked_fill(self.log_probs <= threshold, -torch.inf),
            scores=self.scores.masked_fill(self.scores <= threshold, -torch.inf),
        )


def no_hypotheses(batch_size: int, width: int, max_length: int, end: int, device: torch.device) -> Hypotheses:
    """(B, N) places in which there is none yet, for `max_length` tokens."""
    return Hypotheses(
        tokens=torch.full((batch_size, width, max_length), end, device=device),
        log_probs=torch.zeros(batch_size, width, max_length, device=device),
        lengths=torch.zeros(batch_size, width, dtype=torch.int64, device=device),
        finished=torch.zeros(batch_size, width, dtype=torch.bool, device=device),
        scores=torch.full((batch_size, width), -torch.inf, device=device),
    )
