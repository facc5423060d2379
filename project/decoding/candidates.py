"""What the next token of each hypothesis may be.

Shapes: B images, W hypotheses of each, t tokens so far, V tokens in the vocabulary, K best ones.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from project.decoding.rules import Rules

IMPOSSIBLE = -1e20
"""A log-probability, or a sum of them, that is no more than this counts as log 0: so masks that are the least float."""

FORCED = -1e30
"""Stands for log 0 where a hypothesis must end although the model excludes it: it sorts above no hypothesis at all."""

_BLOCK = 64  # tokens; about the root of V / K makes the two halves of `largest` equally quick


class Next(NamedTuple):
    """The next token's log-probabilities."""

    log_probs: Tensor
    """(B, W, V) float32, the model's, but -inf where the rules forbid the token; NaN where the model gives nothing."""
    of_end: Tensor
    """(B, W) float32, the model's for the end token, whatever the rules; at least `FORCED`."""

    def best(self, count: int, end: int) -> tuple[Tensor, Tensor]:
        """The `count` best tokens of each hypothesis and their log-probabilities, (B, W, K), the best one first.

        A hypothesis that has no possible token gets `end`. K is `count`, or V where that is less.
        """
        values, tokens = largest(self.log_probs, min(count, self.log_probs.shape[2]))
        first, token = self.or_end(values[:, :, 0], tokens[:, :, 0], end)
        values = values.nan_to_num_(nan=-torch.inf, neginf=-torch.inf)
        values[:, :, 0], tokens[:, :, 0] = first, token
        return values, tokens

    def or_end(self, values: Tensor, tokens: Tensor, end: int) -> tuple[Tensor, Tensor]:
        """One token of each hypothesis and its log-probability, (B, W); `end` where that is not possible."""
        possible = values > IMPOSSIBLE  # which NaN is not
        return torch.where(possible, values, self.of_end), torch.where(possible, tokens, end)


def next_tokens(scores: Tensor, tokens: Tensor, rules: Rules, banned: Tensor) -> Next:
    """From a step's scores (B, W, V) for the hypotheses `tokens` (B, W, t); `banned` as in `Rules.forbid_`."""
    rules.check_vocabulary(scores.shape[2])
    log_probs = scores.float().log_softmax(dim=2)  # new memory, so that the rules need no copy of a step's own scores
    of_end = log_probs[:, :, rules.end].nan_to_num(nan=FORCED).clamp_min_(FORCED)
    return Next(rules.forbid_(log_probs, tokens, banned), of_end)


def largest(values: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """`values.topk(count)`, K = `count`, which it is in all but the choice among equals: values (B, W, V) to (B, W, K).

    The K largest lie in the K blocks of the vocabulary with the largest maxima. A maximum is quick to find, and what is
    left for topk is little: on a processor this takes a fourth of the time.
    """
    whole = values.shape[2] // _BLOCK
    if count * 4 * _BLOCK > values.shape[2]:
        return values.topk(count, dim=2)
    maxima = values[:, :, : whole * _BLOCK].unflatten(2, (whole, _BLOCK)).amax(dim=3)
    blocks = maxima.topk(count, dim=2).indices
    places = (blocks[:, :, :, None] * _BLOCK + torch.arange(_BLOCK, device=values.device)).flatten(2)
    rest = torch.arange(whole * _BLOCK, values.shape[2], device=values.device)
    places = torch.cat([places, rest.expand(*places.shape[:2], -1)], dim=2)
    found, order = values.gather(2, places).topk(count, dim=2)
    return found, places.gather(2, order)
