"""Which hypotheses a search may form.

Shapes: B images, W hypotheses of each, t tokens so far, V tokens in the vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from project.errors import ConfigError


@dataclass(frozen=True)
class Rules:
    """What every hypothesis keeps to. Where they leave it no token at all, it may end.

    Args:
        start: the token before the first one; hypotheses do not contain it. It is not banned by itself.
        end: the token that ends a hypothesis; may be the same as `start`.
        max_length: of a hypothesis in tokens, the end token included; longer ones are cut.
        min_length: tokens before `end` may be chosen.
        banned: tokens that are never chosen, such as those for unknown words, padding and the start.
        no_repeat_ngram: no sequence of so many tokens occurs twice in a hypothesis (Paulus et al. 2018,
            arXiv:1705.04304, section 2.5, with 3); 0 allows repetitions.

    Raises:
        ConfigError: a value is out of its range, or contradicts another.
    """

    start: int
    end: int
    max_length: int
    min_length: int = 0
    banned: tuple[int, ...] = ()
    no_repeat_ngram: int = 0

    def __post_init__(self) -> None:
        for name, least in (("start", 0), ("end", 0), ("max_length", 1), ("min_length", 0), ("no_repeat_ngram", 0)):
            if getattr(self, name) < least:
                raise ConfigError(f"model.decoding.{name}: must be at least {least}; got {getattr(self, name)}")
        if self.min_length >= self.max_length:
            raise ConfigError(f"model.decoding.min_length: with {self.min_length} tokens before the end no hypothesis "
                              f"ends within {self.max_length}; choose fewer, or raise max_length")  # fmt: skip
        if self.end in self.banned:
            raise ConfigError(f"model.decoding.banned: no hypothesis could end; leave out the end token, {self.end}")
        if min(self.banned, default=0) < 0:
            raise ConfigError(f"model.decoding.banned: tokens are numbered from 0; leave out {min(self.banned)}")

    def check_vocabulary(self, size: int) -> None:
        """Raises a ConfigError where a token is not among `size` ones. The start token need not be."""
        for name, token in (("end", self.end), ("banned", max(self.banned, default=0))):
            if token >= size:
                raise ConfigError(f"model.decoding.{name}: there is no token {token} among {size}; "
                                  f"choose one below {size}")  # fmt: skip

    def banned_tokens(self, device: torch.device) -> Tensor:
        """Banned tokens for `forbid_`, int64; once for a search, since it waits for the device."""
        return torch.tensor(sorted(set(self.banned)), dtype=torch.int64, device=device)

    def forbid_(self, log_probs: Tensor, tokens: Tensor, banned: Tensor) -> Tensor:
        """Sets what is not allowed next to -inf, in place.

        Args:
            log_probs: (B, W, V) float, of the next token.
            tokens: (B, W, t) int64, the hypotheses so far.
            banned: `banned_tokens`.
        """
        if self.banned:
            log_probs.index_fill_(2, banned, -torch.inf)
        if tokens.shape[2] < self.min_length:
            log_probs[:, :, self.end] = -torch.inf
        if 0 < self.no_repeat_ngram <= tokens.shape[2]:
            self._forbid_repetitions_(log_probs, tokens)
        return log_probs

    def _forbid_repetitions_(self, log_probs: Tensor, tokens: Tensor) -> None:
        """Forbids what followed each earlier occurrence of the newest n - 1 tokens."""
        context = self.no_repeat_ngram - 1
        length = tokens.shape[2]
        following = tokens[:, :, context:]
        if context:
            earlier = tokens[:, :, :-1].unfold(2, context, 1)  # (B, W, t - n + 1, n - 1), what is before each of them
            repeated = (earlier == tokens[:, :, None, length - context :]).all(dim=3)
            # adding: a token may follow one occurrence that repeats and one that does not, and -inf must win
            penalties = torch.where(repeated, -torch.inf, 0.0)
        else:
            penalties = log_probs.new_full((), -torch.inf).expand(following.shape)
        log_probs.scatter_add_(2, following, penalties.to(log_probs.dtype))
