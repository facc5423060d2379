"""Hypotheses that do not compete: the most probable token each time, or random ones.

Shapes: B images, W hypotheses of each, R the rows of a step (1 in the first, then W), K candidates of each row, V tokens
in the vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from project.decoding.candidates import IMPOSSIBLE, largest, next_tokens
from project.decoding.early_stop import EarlyStop
from project.decoding.hypotheses import Hypotheses, no_hypotheses
from project.decoding.rules import Rules
from project.decoding.steps import Step
from project.decoding.trees import Tree, expand_hypotheses, tree_tensors
from project.errors import ConfigError


@torch.no_grad()
def greedy_search(step: Step, memory: Tree, context: Tree, rules: Rules) -> Hypotheses:
    """The most probable token each time, N = 1; the score is the log-probability.

    Args:
        step: scores the next tokens.
        memory: a tree of (B, 1, ...), before the start token.
        context: a tree of (B, ...).
        rules: which hypotheses are allowed.
    """
    return _search(step, memory, context, rules, 1, lambda log_probs: largest(log_probs, 1)[1][:, :, 0]).trimmed()


@torch.no_grad()
def sample(
    step: Step,
    memory: Tree,
    context: Tree,
    rules: Rules,
    num_samples: int,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    generator: torch.Generator | None = None,
) -> Hypotheses:
    """Independent random hypotheses, N = W, in the order in which they were drawn: the best of them is no fair sample.

    Their log-probabilities are the model's, whatever the temperature and the filters; the score is their sum.

    Args:
        step: scores the next tokens.
        memory: a tree of (B, 1, ...), before the start token.
        context: a tree of (B, ...).
        rules: which hypotheses are allowed.
        num_samples: W.
        temperature: divides the log-probabilities; below 1 for more probable tokens.
        top_k: draws among so many of the most probable tokens (Fan et al. 2018, arXiv:1805.04833, section 5.1).
        top_p: then among the fewest that have this share of the probability (Holtzman et al. 2020, arXiv:1904.09751,
            section 3.1): 0 excluded, 1 for all.
        generator: of the random numbers, on the device of the search; by default torch's own.

    Raises:
        ConfigError: a value is out of its range.
    """
    _check(num_samples, temperature, top_k, top_p)

    def choose(log_probs: Tensor) -> Tensor:
        return _draw(log_probs, num_samples, temperature, top_k, top_p, generator)

    return _search(step, memory, context, rules, num_samples, choose).trimmed()


def _search(
    step: Step, memory: Tree, context: Tree, rules: Rules, width: int, choose: Callable[[Tensor], Tensor]
) -> Hypotheses:
    """W chains of each image with T = max_length; `choose` maps log-probabilities (B, R, V) to tokens (B, W)."""
    first = next(tree_tensors((memory, context)))
    batch_size, device = len(first), first.device
    banned = rules.banned_tokens(device)
    early_stop = EarlyStop(batch_size, device)
    chains = no_hypotheses(batch_size, width, rules.max_length, rules.end, device)
    chains = chains._replace(scores=torch.zeros_like(chains.scores))
    newest = torch.full((batch_size, 1), rules.start, device=device)

    for length in range(1, rules.max_length + 1):
        scores, memory = step(newest, memory, context)
        words = next_tokens(scores, chains.tokens[:, : newest.shape[1], : length - 1], rules, banned)
        if length == 1 and width > 1:
            memory = expand_hypotheses(memory, width)
        newest = choose(words.log_probs)
        log_probs = words.log_probs.expand(-1, width, -1).gather(2, newest[:, :, None])[:, :, 0]
        log_probs, newest = words.or_end(log_probs, newest, rules.end)
        log_probs = log_probs.masked_fill_(chains.finished, 0.0)
        newest = newest.masked_fill_(chains.finished, rules.end)
        chains = _extend(chains, newest, log_probs, length, rules.end)
        if length < rules.max_length and early_stop.is_due(length):
            remaining = early_stop.keep(chains.finished.all(dim=1))
            if remaining is not None:
                if not len(remaining):
                    break
                chains, (newest, memory, context) = early_stop.compact(remaining, chains, (newest, memory, context))

    return early_stop.all_results(chains).without_impossible(IMPOSSIBLE)


def _extend(chains: Hypotheses, tokens: Tensor, log_probs: Tensor, length: int, end: int) -> Hypotheses:
    """Each with its next token, which for those that have ended is `end` again, of log-probability 0."""
    chains.tokens[:, :, length - 1] = tokens
    chains.log_probs[:, :, length - 1] = log_probs
    lengths = chains.lengths + ~chains.finished
    return chains._replace(lengths=lengths, finished=tokens == end, scores=chains.scores + log_probs)


def _draw(
    log_probs: Tensor,
    width: int,
    temperature: float,
    top_k: int | None,
    top_p: float | None,
    generator: torch.Generator | None,
) -> Tensor:
    """Random tokens (B, W) from log-probabilities (B, R, V)."""
    tokens = None
    if top_p is not None and top_p < 1 and top_k is None:
        log_probs, tokens = log_probs.sort(dim=2, descending=True, stable=True)
    elif top_k is not None:
        log_probs, tokens = log_probs.topk(min(top_k, log_probs.shape[2]), dim=2)
    # the largest is 0, whatever the temperature
    logits = (log_probs - log_probs.amax(dim=2, keepdim=True)) / temperature
    if top_p is not None and top_p < 1:
        probabilities = logits.softmax(dim=2)
        more_probable = probabilities.cumsum(dim=2) - probabilities
        logits = logits.masked_fill(more_probable >= top_p, -torch.inf)
    # of waiting times with rates p, the shortest one is that of k with probability p_k; torch.multinomial would wait for
    # the device, and refuse a row without any possible token
    times = logits.new_empty(len(logits), width, logits.shape[2]).exponential_(generator=generator)
    least = torch.finfo(times.dtype).tiny
    choice = (logits - times.clamp_min_(least).log_()).argmax(dim=2, keepdim=True)
    return (choice if tokens is None else tokens.expand(-1, width, -1).gather(2, choice))[:, :, 0]


def _check(num_samples: int, temperature: float, top_k: int | None, top_p: float | None) -> None:
    """Raises a ConfigError for values that no search can have."""
    if num_samples < 1:
        raise ConfigError(f"model.decoding.num_samples: must be at least 1; got {num_samples}")
    if not 0 < temperature < float("inf"):
        raise ConfigError(f"model.decoding.temperature: must be above 0; got {temperature}")
    if top_k is not None and top_k < 1:
        raise ConfigError(f"model.decoding.top_k: must be at least 1, or none; got {top_k}")
    if top_p is not None and not 0 < top_p <= 1:
        raise ConfigError(f"model.decoding.top_p: must be above 0 and at most 1; got {top_p}")
