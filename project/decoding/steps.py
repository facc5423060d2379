"""What a search asks of a network, and several networks as one.

Shapes: B images, W hypotheses of each, V tokens in the vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from project.decoding.trees import Tree


class Step(Protocol):
    """A network that scores the next token of every hypothesis.

    Images that are done leave the batch: what belongs to one must lie in `memory` or in `context`.
    """

    def __call__(self, tokens: Tensor, memory: Tree, context: Tree) -> tuple[Tensor, Tree]:
        """One step of W hypotheses of each image. W is 1 in the first one.

        Args:
            tokens: (B, W) int64, the newest token of each: at first the start token, and `end` for those that have
                ended, whose scores are not looked at.
            memory: a tree of (B, W, ...), what the network knows of each hypothesis.
            context: a tree of (B, ...), what it knows of each image: the same for all of its hypotheses and in every
                step, so that it need not be repeated.

        Returns:
            scores: (B, W, V) float, logits or log-probabilities of the next token.
            memory: a tree of (B, W, ...), with `tokens` in it.
        """
        ...


def ensemble(steps: Sequence[Step]) -> Step:
    """The mean of several networks' probabilities, log(Σ_i p_i / n); memory and context are tuples of theirs."""

    def step(tokens: Tensor, memory: Tree, context: Tree) -> tuple[Tensor, Tree]:
        total, memories = None, []
        for one, its_memory, its_context in zip(steps, memory, context, strict=True):
            scores, its_memory = one(tokens, its_memory, its_context)
            memories.append(its_memory)
            log_probs = scores.float().log_softmax(dim=2)
            total = log_probs if total is None else torch.logaddexp(total, log_probs)
        assert total is not None, "an ensemble of none"
        return total - math.log(len(steps)), tuple(memories)

    return step
