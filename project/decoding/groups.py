"""Which continuations a beam takes, in groups that search one after the other.

Shapes: B images, W hypotheses of each in G groups, R the rows of a step (1 in the first, then W), K candidates of each
row, the best one first.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from project.decoding.candidates import IMPOSSIBLE
from project.decoding.hypotheses import Hypotheses


class Choice(NamedTuple):
    """The continuations that are taken, each (B, W), the best of each group first."""

    parents: Tensor
    """int64, 0..R-1: the rows that they continue."""
    tokens: Tensor
    """int64."""
    log_probs: Tensor
    """float32, of the tokens."""
    sums: Tensor
    """float32, log-probabilities of the hypotheses."""
    taken: Tensor
    """bool; the other places are to be ignored."""


class Groups:
    """A beam's slots, in groups.

    Args:
        beam_size: W.
        count: G, a divisor of W.
        diversity: taken off a token's log-probability for each time that an earlier group has chosen it.
    """

    def __init__(self, beam_size: int, count: int, diversity: float) -> None:
        self.beam_size, self.count, self.diversity = beam_size, count, diversity
        self._size = beam_size // count

    def slots(self, like: Hypotheses) -> Tensor:
        """Of each group at the start, (B, G) int64."""
        return torch.full_like(like.lengths, self._size).expand(-1, self.count)

    def choose(self, log_probs: Tensor, tokens: Tensor, sums: Tensor, slots: Tensor) -> Choice:
        """The best continuations of each group.

        W candidates of each row are enough for all groups: a later one needs its own number and one more for each token
        that the earlier ones may have chosen. So nothing here is as large as the vocabulary.

        Args:
            log_probs: (B, R, K) float32, of the candidates.
            tokens: (B, R, K) int64.
            sums: (B, R) float32, of the hypotheses so far.
            slots: (B, G) int64, how many each group may take.
        """
        choices: list[Choice] = []
        for group, free in enumerate(slots.unbind(dim=1)):
            first = group * self._size if sums.shape[1] > 1 else 0
            rows = slice(first, first + self._size)
            earlier = [torch.where(choice.taken, choice.tokens, -1) for choice in choices] if self.diversity else []
            choice = self._choose(log_probs[:, rows], tokens[:, rows], sums[:, rows], free, earlier)
            choices.append(choice._replace(parents=choice.parents + first))
        return Choice(*(torch.cat(of_groups, dim=1) for of_groups in zip(*choices, strict=True)))

    def _choose(self, log_probs: Tensor, tokens: Tensor, sums: Tensor, free: Tensor, earlier: list[Tensor]) -> Choice:
        """One group's choice; `free` (B,) are its slots, `earlier` what the groups before it have chosen."""
        candidates = log_probs.shape[2]
        sums, log_probs, tokens = (sums[:, :, None] + log_probs).flatten(1), log_probs.flatten(1), tokens.flatten(1)
        ranking = sums
        if earlier:
            times = (tokens[:, :, None] == torch.cat(earlier, dim=1)[:, None]).sum(dim=2)
            ranking = sums - self.diversity * times
        # stable, for which topk does not allow: of equals the earlier hypothesis; there are but W * W
        order = ranking.sort(dim=1, descending=True, stable=True).indices[:, : self._size]
        sums, log_probs, tokens = (values.gather(1, order) for values in (sums, log_probs, tokens))
        taken = self._takes(sums) & (torch.arange(order.shape[1], device=order.device) < free[:, None])
        choice = Choice(order // candidates, tokens, log_probs, sums, taken)
        missing = self._size - order.shape[1]  # in the first step of a beam that is wider than the vocabulary
        return Choice(*(functional.pad(values, (0, missing)) for values in choice)) if missing else choice

    @staticmethod
    def _takes(sums: Tensor) -> Tensor:
        """Whether each of the sorted ones is worth a slot: an impossible one is, where there is nothing else."""
        possible = sums > IMPOSSIBLE
        possible[:, 0] = sums[:, 0] > -torch.inf
        return possible
