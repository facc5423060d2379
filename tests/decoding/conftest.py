"""Models whose next token depends on everything before it, and searches of them written out in plain Python."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator

import pytest
import torch

from project.decoding import Rules


class HashModel:
    """An arbitrary distribution after each prefix: a hash of the image's seed and of all tokens so far.

    `impossible` is the share of tokens of probability 0, `ties` makes a few levels of the scores.
    """

    def __init__(self, vocabulary=5, end=0, sharpness=3.0, end_bonus=0.0, impossible=0.0, ties=False):
        self.vocabulary, self.end, self.sharpness, self.end_bonus = vocabulary, end, sharpness, end_bonus
        self.impossible, self.ties = impossible, ties
        self.calls: list[tuple[int, int]] = []
        self.seen: set[int] = set()
        self._known: dict[tuple, torch.Tensor] = {}

    def start(self, seeds):
        """Memory and context of images."""
        seeds = torch.as_tensor(seeds)
        context = {"seeds": seeds, "features": seeds[:, None, None].expand(-1, 3, 2)}
        return (torch.zeros(len(seeds), 1, dtype=torch.int64), [None]), context

    def __call__(self, tokens, memory, context):
        (hashes, [nothing]), seeds = memory, context["seeds"]
        assert nothing is None
        assert tokens.dtype == torch.int64
        assert tokens.shape == hashes.shape
        assert context["features"].shape == (len(tokens), 3, 2), "features are never repeated"
        assert torch.equal(context["features"][:, 2, 1], seeds), "every image keeps its own"
        assert ((tokens >= 0) & (tokens < self.vocabulary)).all()
        self.calls.append(tuple(tokens.shape))
        self.seen.update(tokens.flatten().tolist())
        hashes = self._mix(hashes * 31 + tokens + 1 + self._mix(seeds)[:, None])
        return self._scores(hashes), (hashes, [None])

    def log_probs(self, seed, prefix, start=1):
        """float64 (V,) after a prefix."""
        return self._after(seed, (start, *prefix))[1]

    def _after(self, seed, sequence):
        """The hash of a sequence and what follows it."""
        key = (seed, *sequence)
        if key not in self._known:
            hashes = self._after(seed, sequence[:-1])[0] if sequence[:-1] else torch.zeros((), dtype=torch.int64)
            hashes = self._mix(hashes * 31 + sequence[-1] + 1 + self._mix(torch.tensor(seed)))
            log_probs = self._scores(hashes).double().log_softmax(-1)
            self._known[key] = hashes, log_probs.nan_to_num(-torch.inf, neginf=-torch.inf)
        return self._known[key]

    def _scores(self, hashes):
        draws = self._mix(hashes[..., None] + 7919 * torch.arange(1, self.vocabulary + 1))
        uniform = ((draws >> 20) & 0xFFFFFF).float() / 2**24
        scores = self.sharpness * ((4 * uniform).floor() / 4 if self.ties else uniform)
        scores[..., self.end] += self.end_bonus
        return scores.masked_fill((((draws >> 8) & 0xFFF) / 4096) < self.impossible, -torch.inf)

    @staticmethod
    def _mix(x):
        for multiplier in (-0x61C8864680B583EB, -0x40A7B892E31B1A47):
            x = (x ^ ((x >> 29) & 0x7FFFFFFFF)) * multiplier
        return x ^ ((x >> 32) & 0xFFFFFFFF)


def _allowed(model, seed, rules: Rules, prefix) -> dict[int, float]:
    """The next tokens and their log-probabilities, by the letter of the rules."""
    log_probs = model.log_probs(seed, prefix, rules.start).tolist()
    n = rules.no_repeat_ngram
    kept = {}
    for token, value in enumerate(log_probs):
        sequence = (*prefix, token)
        ngrams = Counter(sequence[i : i + n] for i in range(len(sequence) - n + 1)) if n else {}
        early = token == rules.end and len(prefix) < rules.min_length
        if token not in rules.banned and not early and max(ngrams.values(), default=1) == 1 and value > -math.inf:
            kept[token] = value
    return kept or {rules.end: log_probs[rules.end]}


def _beam(model, seed, rules: Rules, beam_size, num, penalty, num_groups=1, diversity=0.0):
    """The classical rule for one image, without an early stop: [(score, tokens, finished)], the best first."""
    groups = [[((), 0.0)] for _ in range(num_groups)]
    slots = [beam_size // num_groups] * num_groups
    ended = {}
    for length in range(1, rules.max_length + 1):
        chosen = Counter()
        for g in range(num_groups):
            candidates = [
                (total + value - diversity * chosen[token], total + value, (*prefix, token))
                for prefix, total in groups[g]
                for token, value in _allowed(model, seed, rules, prefix).items()
            ]
            candidates.sort(key=lambda candidate: -candidate[0])
            possible = [candidate for candidate in candidates if candidate[0] > -math.inf]
            taken = (possible or candidates[:1])[: slots[g]]
            groups[g] = []
            this_step = Counter(tokens[-1] for _, _, tokens in taken)
            for _, total, tokens in taken:
                if tokens[-1] == rules.end or length == rules.max_length:
                    slots[g] -= 1
                    finished = tokens[-1] == rules.end
                    ended.setdefault(tokens, (float(penalty(torch.tensor(total).double(), length)), tokens, finished))
                else:
                    groups[g].append((tokens, total))
            chosen += this_step
    return sorted(ended.values(), key=lambda hypothesis: -hypothesis[0])[:num]


def _all_hypotheses(model, seed, rules: Rules) -> Iterator[tuple[tuple[int, ...], float]]:
    """Everything that the rules allow, with its log-probability."""
    stack = [((), 0.0)]
    while stack:
        prefix, total = stack.pop()
        for token, value in _allowed(model, seed, rules, prefix).items():
            tokens = (*prefix, token)
            if token == rules.end or len(tokens) == rules.max_length:
                yield tokens, total + value
            else:
                stack.append((tokens, total + value))


def _teacher_forced(model, seed, tokens, start=1) -> list[float]:
    return [float(model.log_probs(seed, tokens[:i], start)[token]) for i, token in enumerate(tokens)]


@pytest.fixture(scope="session")
def hash_model() -> type[HashModel]:
    """The class of models: (vocabulary, end, sharpness, end_bonus, impossible, ties)."""
    return HashModel


@pytest.fixture(scope="session")
def reference_beam() -> Callable[..., list]:
    """Beam search of one image: (model, seed, rules, beam_size, num, penalty, num_groups, diversity)."""
    return _beam


@pytest.fixture(scope="session")
def all_hypotheses() -> Callable[..., Iterator]:
    """(model, seed, rules) to every (tokens, log-probability)."""
    return _all_hypotheses


@pytest.fixture(scope="session")
def teacher_forced() -> Callable[..., list[float]]:
    """(model, seed, tokens, start) to the log-probability of each token."""
    return _teacher_forced


@pytest.fixture(scope="session")
def allowed_tokens() -> Callable[..., dict[int, float]]:
    """(model, seed, rules, prefix) to the next tokens and their log-probabilities."""
    return _allowed


@pytest.fixture
def random_rules() -> Callable[..., Rules]:
    """Rules that a `random.Random` draws for a vocabulary: (random, vocabulary, end, longest)."""

    def draw(random, vocabulary, end=0, longest=5) -> Rules:
        max_length = random.randint(1, longest)
        others = [token for token in range(vocabulary) if token != end]
        return Rules(
            start=1,
            end=end,
            max_length=max_length,
            min_length=random.choice([0, 0, random.randrange(max_length)]),
            banned=tuple(random.sample(others, random.choice([0, 0, 1, 2]))),
            no_repeat_ngram=random.choice([0, 0, 1, 2, 3]),
        )

    return draw
