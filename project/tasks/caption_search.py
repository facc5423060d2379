"""From features to captions: the search that was configured, with one decoder or two, of one network or several.

Shapes: B images, N hypotheses of each, T tokens, L places of the grid.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from project.data.captions.vocabulary import END, PAD, START, UNK
from project.decoding import Hypotheses, LengthPenalty, Rules, Step, beam_search, ensemble, greedy_search, sample
from project.errors import ConfigError, did_you_mean
from project.models.captioning import CaptionNetwork, Features

Search = Literal["beam", "greedy", "sample"]
Direction = Literal["sum", "mean", "rescore"]
_LEAST = {"beam_size": 1, "num_hypotheses": 1, "alpha": 0, "min_words": 0, "max_words": 1, "no_repeat_ngram": 0,
          "groups": 1, "diversity": 0, "top_k": 1}  # fmt: skip


@dataclass(frozen=True)
class Decoding:
    """How captions are found.

    Args:
        search: `beam`, `greedy`, or `sample`, which draws words at random.
        beam_size: hypotheses that a beam search follows; draws of a sampling one.
        num_hypotheses: captions of each image that `predict` writes, the best first; at most `beam_size`.
        length_penalty: how captions of different lengths compare: `none` by their log-probability, `average` divided by
            length^alpha, `gnmt` by ((5 + length) / 6)^alpha (Wu et al. 2016, arXiv:1609.08144).
        alpha: see `length_penalty`.
        min_words: the least words of a caption.
        max_words: the most; a caption that would go on is cut there. By default as many as in training and one more, in
            the place where the longest ones end. The alternatives of `predict` have the next word, too, in which they
            may differ.
        no_repeat_ngram: no sequence of so many words comes twice; 0 allows it.
        unknown_words: whether `<unk>` may be said.
        groups: of a diverse beam search (Vijayakumar et al. 2016, arXiv:1610.02424); 1 is the usual one.
        diversity: what a word costs a group for each earlier group that says it at the same place.
        temperature: of sampling; below 1 the likely words become likelier.
        top_k: sampling draws among so many likeliest words.
        top_p: sampling draws among the likeliest words with this probability together.
        direction: how a bidirectional captioner chooses between its two decoders' captions: by the larger `sum` of
            log-probabilities (Wang et al. 2016, arXiv:1604.00790), by their `mean`, or by `rescore`: the log-probability
            that both give to each caption of either.
        ensemble: checkpoints, or runs' directories, of captioners with the same vocabulary, whose probabilities are averaged with this one's.

    Raises:
        ConfigError: a value is out of its range, or contradicts another.
    """

    search: Search = "beam"
    beam_size: int = 5
    num_hypotheses: int = 5
    length_penalty: Literal["none", "average", "gnmt"] = "none"
    alpha: float = 1.0
    min_words: int = 0
    max_words: int | None = None
    no_repeat_ngram: int = 0
    unknown_words: bool = True
    groups: int = 1
    diversity: float = 0.5
    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    direction: Direction = "sum"
    ensemble: list[str] = ()  # type: ignore[assignment]  # a list would be shared

    def __post_init__(self) -> None:
        for name, kind in (("search", Search), ("direction", Direction)):
            value, known = getattr(self, name), get_args(kind)
            if value not in known:
                raise ConfigError(f"model.decoding.{name}: there is no '{value}'; {did_you_mean(str(value), known)}")
        for name, least in _LEAST.items():
            value = getattr(self, name)
            if value is not None and not least <= value < math.inf:
                raise ConfigError(f"model.decoding.{name}: must be at least {least}; got {value}")
        if not 0 < self.temperature < math.inf:
            raise ConfigError(f"model.decoding.temperature: must be above 0; got {self.temperature}")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise ConfigError(f"model.decoding.top_p: must be above 0 and at most 1; got {self.top_p}")
        if self.beam_size % self.groups:
            raise ConfigError(f"model.decoding.groups: {self.groups} groups cannot share a beam of {self.beam_size}; "
                              "choose a divisor of it")  # fmt: skip
        if self.max_words is not None:
            self.rules(self.max_words)
        self.penalty()

    def penalty(self) -> LengthPenalty:
        """Of the length."""
        return LengthPenalty(self.length_penalty, self.alpha)

    def rules(self, max_words: int) -> Rules:
        """What captions keep to; `max_words` is that of the training."""
        max_words = self.max_words or max_words
        if self.min_words > max_words:
            raise ConfigError(f"model.decoding.min_words: {self.min_words} is above max_words, {max_words}")
        banned = (PAD, START) if self.unknown_words else (PAD, START, UNK)
        return Rules(START, END, max_words + 1, self.min_words, banned, self.no_repeat_ngram)


class CaptionSearch:
    """The search over one network's decoders, or over several networks'.

    Args:
        networks: of the same vocabulary and the same number of directions.
        decoding: how.
        max_words: the most in training.
    """

    def __init__(self, networks: Sequence[CaptionNetwork], decoding: Decoding, max_words: int) -> None:
        self.networks = networks
        self.decoding = decoding
        self.rules = decoding.rules(max_words)

    @property
    def max_words(self) -> int:
        """The most words of a caption, see `Decoding`."""
        return self.decoding.max_words or self.rules.max_length

    def __call__(
        self,
        features: Sequence[Features],
        num_hypotheses: int = 1,
        greedy: bool = False,
        generator: torch.Generator | None = None,
    ) -> Hypotheses:
        """The best captions of each image, in reading order.

        Args:
            features: of the images, by each network.
            num_hypotheses: N, at most; a greedy search finds one.
            greedy: whether to search greedily, whatever is configured.
            generator: of the random numbers of sampling; by default torch's own.
        """
        if len(self.networks[0].decoders) == 1:
            return self._search(features, 0, num_hypotheses, greedy, generator)
        # of as many as there are, so that the best does not depend on how many are asked for
        forward, backward = (
            self._search(features, direction, self.decoding.beam_size, greedy, generator) for direction in (0, 1)
        )
        both = _joined(forward, _reversed(backward))
        return self._choose(both, features, min(num_hypotheses, forward.tokens.shape[1]))

    def _search(
        self,
        features: Sequence[Features],
        direction: int,
        count: int,
        greedy: bool,
        generator: torch.Generator | None,
    ) -> Hypotheses:
        decoders = [network.decoders[direction] for network in self.networks]
        memories, contexts = zip(*(d.start(f) for d, f in zip(decoders, features, strict=True)), strict=True)
        step: Step
        if len(decoders) == 1:
            step, memory, context = decoders[0].step, memories[0], contexts[0]
        else:
            step, memory, context = ensemble([decoder.step for decoder in decoders]), memories, contexts
        options = self.decoding
        if greedy or options.search == "greedy":
            return greedy_search(step, memory, context, self.rules)
        if options.search == "sample":
            found = sample(
                step,
                memory,
                context,
                self.rules,
                options.beam_size,
                options.temperature,
                options.top_k,
                options.top_p,
                generator,
            )
            return _best(found, found.scores, min(count, options.beam_size))
        return beam_search(
            step,
            memory,
            context,
            self.rules,
            options.beam_size,
            min(count, options.beam_size),
            options.penalty(),
            options.groups,
            options.diversity,
        )

    def _choose(self, both: Hypotheses, features: Sequence[Features], count: int) -> Hypotheses:
        if self.decoding.direction == "mean":
            scores = both.log_probability / both.lengths.clamp(min=1)
        elif self.decoding.direction == "rescore":
            inside = torch.arange(both.tokens.shape[2], device=both.tokens.device) < both.lengths[..., None]
            forward, backward = (
                self._log_probs(features, tokens, direction).masked_fill(~inside, 0).sum(2)
                for direction, tokens in enumerate((both.tokens, _reversed(both).tokens))
            )
            scores = forward + backward
        else:
            scores = both.log_probability
        absent = (both.lengths == 0) | _repeated(both, scores)
        both = both._replace(
            lengths=both.lengths.masked_fill(absent, 0), finished=both.finished.masked_fill(absent, False)
        )
        return _best(both, scores.masked_fill(absent, -torch.inf), count)

    def _log_probs(self, features: Sequence[Features], tokens: Tensor, direction: int) -> Tensor:
        """Of each token of given captions (B, N, T) under all networks together, (B, N, T) float32."""
        found = []
        for caption in tokens.split(1, dim=1):  # the scores of all words for all captions at once would be large
            each = [
                network.decoders[direction](its, caption).logits.float().log_softmax(3).gather(3, caption[..., None])
                for network, its in zip(self.networks, features, strict=True)
            ]
            found.append(torch.cat(each, 3).logsumexp(3) - math.log(len(each)))
        return torch.cat(found, 1)


def reverse_words(tokens: Tensor, counts: Tensor) -> Tensor:
    """The first `counts` (...) of tokens (..., T) in the opposite order, the rest as it is."""
    place = torch.arange(tokens.shape[-1], device=tokens.device).expand_as(tokens)
    counts = counts[..., None]
    return tokens.gather(-1, torch.where(place < counts, counts - 1 - place, place))


def in_direction(tokens: Tensor, direction: int) -> Tensor:
    """Captions (..., T), padded, as a decoder tells them: with 1 from the last word to the first, and then the end."""
    return reverse_words(tokens, ((tokens != PAD) & (tokens != END)).sum(-1)) if direction else tokens


def cut_best(found: Hypotheses, max_words: int) -> Hypotheses:
    """Hypotheses, the best of each image cut at `max_words`; a search has one word more of those that did not end."""
    first = torch.arange(found.lengths.shape[1], device=found.lengths.device) == 0
    over = first & ~found.finished & (found.lengths > max_words)
    behind = over[..., None] & (torch.arange(found.tokens.shape[2], device=over.device) >= max_words)
    return found._replace(
        tokens=found.tokens.masked_fill(behind, END),
        log_probs=found.log_probs.masked_fill(behind, 0),
        lengths=found.lengths - over.long(),
    )


def _reversed(found: Hypotheses) -> Hypotheses:
    counts = found.lengths - found.finished.long()
    return found._replace(tokens=reverse_words(found.tokens, counts), log_probs=reverse_words(found.log_probs, counts))


def _joined(one: Hypotheses, other: Hypotheses) -> Hypotheses:
    """Both's hypotheses of each image, (B, 2 N), as long as the longer."""
    longest = max(one.tokens.shape[2], other.tokens.shape[2])
    padded = [
        found._replace(
            tokens=torch.nn.functional.pad(found.tokens, (0, longest - found.tokens.shape[2]), value=END),
            log_probs=torch.nn.functional.pad(found.log_probs, (0, longest - found.log_probs.shape[2])),
        )
        for found in (one, other)
    ]
    return Hypotheses(*(torch.cat(parts, 1) for parts in zip(*padded, strict=True)))


def _repeated(found: Hypotheses, scores: Tensor) -> Tensor:
    """Which hypotheses are said by another one of the same image with a better score, or earlier, (B, N) bool."""
    same = (found.tokens[:, :, None] == found.tokens[:, None]).all(3)
    same &= found.lengths[:, :, None] == found.lengths[:, None]
    place = torch.arange(scores.shape[1], device=scores.device)
    earlier = (scores[:, None] > scores[:, :, None]) | (
        (scores[:, None] == scores[:, :, None]) & (place[None] < place[:, None])
    )
    return (same & earlier).any(2)


def _best(found: Hypotheses, scores: Tensor, count: int) -> Hypotheses:
    """The `count` best by `scores` (B, N), in descending order."""
    scores, order = scores.sort(dim=1, descending=True, stable=True)
    order, scores = order[:, :count], scores[:, :count]
    rows = order[..., None].expand(-1, -1, found.tokens.shape[2])
    return Hypotheses(
        found.tokens.gather(1, rows),
        found.log_probs.gather(1, rows),
        found.lengths.gather(1, order),
        found.finished.gather(1, order),
        scores,
    )
