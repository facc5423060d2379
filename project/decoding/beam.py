"""Beam search, plain and in diverse groups.

Shapes: B images, W hypotheses of each in G groups, R the rows of a step (1 in the first, then W), K candidates of each
row, N hypotheses to return, T the greatest length, V tokens in the vocabulary.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from project.decoding.candidates import IMPOSSIBLE, next_tokens
from project.decoding.early_stop import EarlyStop
from project.decoding.groups import Choice, Groups
from project.decoding.hypotheses import Hypotheses, no_hypotheses
from project.decoding.length import LengthPenalty
from project.decoding.rules import Rules
from project.decoding.steps import Step
from project.decoding.trees import Tree, select_hypotheses, tree_tensors
from project.errors import ConfigError


class _Live(NamedTuple):
    """The hypotheses that go on."""

    tokens: Tensor
    """(B, R, T) int64, `end` where there is none yet."""
    log_probs: Tensor
    """(B, R, T) float32, of each token."""
    sums: Tensor
    """(B, R) float32, the log-probability so far; -inf where a row has no hypothesis."""
    slots: Tensor
    """(B, G) int64: how many hypotheses of the group have not ended."""


@torch.no_grad()
def beam_search(
    step: Step,
    memory: Tree,
    context: Tree,
    rules: Rules,
    beam_size: int,
    num_hypotheses: int = 1,
    length_penalty: LengthPenalty = LengthPenalty(),
    num_groups: int = 1,
    diversity: float = 0.0,
) -> Hypotheses:
    """The most probable hypotheses of each image, as far as a beam finds them.

    At each step the best W continuations of all live hypotheses are taken; those that end keep their slot, so one
    hypothesis less goes on. Hence a beam of 1 is greedy search whatever the normalisation, and one that is as wide as
    the space is exact. An image is done as soon as no live hypothesis can still beat the worst of its N best ended ones,
    which changes nothing in the result; live ones at the greatest length are cut, and compete with those that ended.

    Diverse groups (Vijayakumar et al. 2016, arXiv:1610.02424, with Hamming diversity) search one after the other in
    every step, each with its share of the slots; what the earlier ones of the same image have chosen in this step is
    less attractive to the later ones. The penalty guides the choice alone: it is not carried on, and not in the scores.
    What two groups find is returned once.

    Args:
        step: scores the next tokens.
        memory: a tree of (B, 1, ...), before the start token.
        context: a tree of (B, ...).
        rules: which hypotheses are allowed.
        beam_size: W.
        num_hypotheses: N, at most W.
        length_penalty: how hypotheses that have ended compare.
        num_groups: G, a divisor of W.
        diversity: taken off a token's log-probability for each time that an earlier group has chosen it.

    Raises:
        ConfigError: a value is out of its range, or contradicts another.
    """
    _check(beam_size, num_hypotheses, num_groups, diversity)
    groups = Groups(beam_size, num_groups, diversity)
    return _search(step, memory, context, rules, groups, num_hypotheses, length_penalty).trimmed()


def _search(
    step: Step,
    memory: Tree,
    context: Tree,
    rules: Rules,
    groups: Groups,
    num_hypotheses: int,
    length_penalty: LengthPenalty,
) -> Hypotheses:
    """`beam_search` with T = max_length. Waits for the device in `EarlyStop.keep` alone."""
    first = next(tree_tensors((memory, context)))
    batch_size, device = len(first), first.device
    banned = rules.banned_tokens(device)
    early_stop = EarlyStop(batch_size, device)
    ended = no_hypotheses(batch_size, num_hypotheses, rules.max_length, rules.end, device)
    nothing = no_hypotheses(batch_size, 1, rules.max_length, rules.end, device)
    live = _Live(nothing.tokens, nothing.log_probs, nothing.scores.new_zeros(batch_size, 1), groups.slots(nothing))
    newest = torch.full((batch_size, 1), rules.start, device=device)

    for length in range(1, rules.max_length + 1):
        scores, memory = step(newest, memory, context)
        words = next_tokens(scores, live.tokens[:, :, : length - 1], rules, banned)
        choice = groups.choose(*words.best(groups.beam_size, rules.end), live.sums, live.slots)
        ends = choice.taken & (choice.tokens == rules.end)
        live = _extend(live, choice, ends, length)
        leaves = choice.taken if length == rules.max_length else ends
        ended = _best(ended, _leaving(live, choice, leaves, ends, length, length_penalty, groups.count))
        if length == rules.max_length:
            break
        newest = torch.where(live.sums > -torch.inf, choice.tokens, rules.end)
        memory = select_hypotheses(memory, choice.parents)
        if early_stop.is_due(length):
            hope = length_penalty.bound(live.sums.amax(dim=1), rules.max_length)
            remaining = early_stop.keep(hope <= ended.scores[:, -1])
            if remaining is not None:
                if not len(remaining):
                    break
                state = live, newest, memory, context
                ended, (live, newest, memory, context) = early_stop.compact(remaining, ended, state)

    return early_stop.all_results(ended).without_impossible(IMPOSSIBLE)


def _extend(live: _Live, choice: Choice, ends: Tensor, length: int) -> _Live:
    """What is chosen in the place of its parents."""
    tokens, log_probs = select_hypotheses((live.tokens, live.log_probs), choice.parents)
    tokens[:, :, length - 1] = choice.tokens
    log_probs[:, :, length - 1] = choice.log_probs
    sums = choice.sums.masked_fill(~choice.taken | ends, -torch.inf)
    slots = live.slots - ends.unflatten(1, (live.slots.shape[1], -1)).sum(dim=2)
    return _Live(tokens, log_probs, sums, slots)


def _leaving(
    live: _Live,
    choice: Choice,
    leaves: Tensor,
    ends: Tensor,
    length: int,
    length_penalty: LengthPenalty,
    num_groups: int,
) -> Hypotheses:
    """The newest ones, (B, W) places with a score of -inf but for those that leave the beam."""
    if num_groups > 1:
        same = (live.tokens[:, :, None] == live.tokens[:, None]).all(dim=3) & leaves[:, None]
        leaves = leaves & ~same.tril(diagonal=-1).any(dim=2)  # an earlier group has it
    scores = length_penalty.normalised(choice.sums, length).masked_fill(~leaves, -torch.inf)
    return Hypotheses(live.tokens, live.log_probs, torch.full_like(live.tokens[:, :, 0], length), ends, scores)


def _best(ended: Hypotheses, leaving: Hypotheses) -> Hypotheses:
    """The best N of both, by score; of equals those that ended before, and so an empty place is never displaced."""
    both = Hypotheses(*(torch.cat(pair, dim=1) for pair in zip(ended, leaving, strict=True)))
    order = both.scores.sort(dim=1, descending=True, stable=True).indices
    return select_hypotheses(both, order[:, : ended.scores.shape[1]])


def _check(beam_size: int, num_hypotheses: int, num_groups: int, diversity: float) -> None:
    """Raises a ConfigError for values that no search can have."""
    for name, value in (("beam_size", beam_size), ("num_hypotheses", num_hypotheses), ("num_groups", num_groups)):
        if value < 1:
            raise ConfigError(f"model.decoding.{name}: must be at least 1; got {value}")
    if num_hypotheses > beam_size:
        raise ConfigError(f"model.decoding.num_hypotheses: a beam of {beam_size} finds no more than that; "
                          f"choose at most {beam_size}, or raise beam_size")  # fmt: skip
    if beam_size % num_groups:
        raise ConfigError(f"model.decoding.num_groups: {num_groups} groups cannot share a beam of {beam_size} equally; "
                          f"choose a divisor of {beam_size}")  # fmt: skip
    if not 0 <= diversity < float("inf"):
        raise ConfigError(f"model.decoding.diversity: must be 0 or more; got {diversity}")
