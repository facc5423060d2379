"""What every caption decoder shares: words in, words out, one step or a whole caption.

Shapes: B images, W hypotheses or R captions of each, T words, V words known, E units of an embedding, H hidden units,
L places of the grid, D features.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Generic, NamedTuple, TypedDict, TypeVar

import torch
from torch import Tensor, nn

from project.models.captioning.cells import LockedDropout
from project.models.captioning.encoder import Features

Memory = TypeVar("Memory")
Context = TypeVar("Context")


class SharedOptions(TypedDict):
    """What every decoder is made with; see `CaptionDecoder`."""

    vocabulary_size: int
    start: int
    embedding_size: int
    hidden_size: int
    dropout: float
    word_dropout: float
    tie_embeddings: bool


class Taught(NamedTuple):
    """What a decoder says of given captions: logits (B, R, T, V), and where it looked, (B, R, T, L), if it attends."""

    logits: Tensor
    attention: Tensor | None


class CaptionDecoder(nn.Module, ABC, Generic[Memory, Context]):
    """A recurrent network that scores the next word.

    `start` and `step` are what the searches of `project.decoding` ask for.

    Args:
        vocabulary_size: V.
        start: the index of the word before the first.
        embedding_size: E.
        hidden_size: H.
        dropout: share of the inputs, outputs and values between stacked layers that is zeroed in training; between
            layers, of the same ones for all captions of an image.
        word_dropout: share of the words before that are left out in training, so that the image has to say what they
            would have (Bowman et al. 2016, arXiv:1511.06349, section 3.1).
        tie_embeddings: whether the output layer uses the words' embeddings (Press and Wolf 2017, arXiv:1608.05859).
    """

    fixed_layers: ClassVar[int | None] = None
    """How many recurrent layers the decoder has, where that is no option."""

    def __init__(
        self,
        vocabulary_size: int,
        start: int,
        embedding_size: int,
        hidden_size: int,
        dropout: float,
        word_dropout: float,
        tie_embeddings: bool,
    ) -> None:
        super().__init__()
        self.start_token = start
        self.embedding = nn.Embedding(vocabulary_size, embedding_size)
        self.dropout = LockedDropout(dropout)
        self.word_dropout = word_dropout
        self.project = nn.Linear(hidden_size, embedding_size)
        self.output = nn.Linear(embedding_size, vocabulary_size)
        nn.init.normal_(self.embedding.weight, std=embedding_size**-0.5)
        nn.init.zeros_(self.output.bias)
        if tie_embeddings:
            self.output.weight = self.embedding.weight

    @abstractmethod
    def start(self, features: Features) -> tuple[Memory, Context]:
        """Memory (B, 1, ...) and context (B, ...) before the first word."""

    @abstractmethod
    def advance(self, inputs: Tensor, memory: Memory, context: Context) -> tuple[Tensor, Tensor | None, Memory]:
        """One step.

        Args:
            inputs: (B, W, E), embeddings of the newest words.
            memory: a tree of (B, W, ...).
            context: a tree of (B, ...).

        Returns:
            What the next word is told from, (B, W, E); where it looked, (B, W, L), if it attends; the next memory.
        """

    def embed(self, words: Tensor) -> Tensor:
        """Vectors (..., E) of words (...) int64; in training some are zero, the start's never."""
        vectors = self.embedding(words)
        if not self.training or not self.word_dropout:
            return vectors
        kept = (torch.rand(words.shape, device=words.device) >= self.word_dropout) | (words == self.start_token)
        return vectors * kept[..., None]

    def step(self, tokens: Tensor, memory: Memory, context: Context) -> tuple[Tensor, Memory]:
        """Logits (B, W, V) of the next word and the next memory, from the newest words (B, W) int64."""
        outputs, _, memory = self.advance(self.embed(tokens), memory, context)
        return self.output(outputs), memory

    def forward(self, features: Features, tokens: Tensor, sampling: float = 0.0) -> Taught:
        """Scores of every word of given captions, each told from the ones before it.

        Args:
            features: of the images.
            tokens: (B, R, T) int64, words and the end, padded.
            sampling: probability that a word before is not the given one but one drawn from the decoder's own scores
                (scheduled sampling; Bengio et al. 2015, arXiv:1506.03099).
        """
        memory, context = self.start(features)
        memory = expand(memory, tokens.shape[1])
        before = torch.cat([torch.full_like(tokens[:, :, :1], self.start_token), tokens[:, :, :-1]], dim=2)
        if sampling:
            outputs, attention = self._sampled(before, memory, context, sampling)
        else:
            outputs, attention = self.unroll(self.dropout(self.embed(before)), memory, context)
        return Taught(self.output(self.dropout(outputs)), attention)

    def unroll(self, inputs: Tensor, memory: Memory, context: Context) -> tuple[Tensor, Tensor | None]:
        """All steps of inputs (B, R, T, E): outputs (B, R, T, E), and where it looked, (B, R, T, L)."""
        outputs, attention = [], []
        for step in inputs.unbind(2):
            output, weights, memory = self.advance(step, memory, context)
            outputs.append(output)
            if weights is not None:
                attention.append(weights)
        return torch.stack(outputs, 2), torch.stack(attention, 2) if attention else None

    def _sampled(
        self, before: Tensor, memory: Memory, context: Context, sampling: float
    ) -> tuple[Tensor, Tensor | None]:
        outputs: list[Tensor] = []
        attention, words = [], before[:, :, 0]
        given = torch.rand(before.shape, device=before.device) >= sampling
        mask = self.dropout.mask(self.embedding(words))
        for t in range(before.shape[2]):
            if t:
                with torch.no_grad():
                    # of scores that are no numbers any word: the loss will not be one either, and says so better
                    odds = self.output(outputs[-1]).float().softmax(dim=2).nan_to_num(1.0)
                    drawn = odds.flatten(0, 1).multinomial(1).view_as(words)
                words = torch.where(given[:, :, t], before[:, :, t], drawn)
            inputs = self.embed(words)
            output, weights, memory = self.advance(inputs if mask is None else inputs * mask, memory, context)
            outputs.append(output)
            if weights is not None:
                attention.append(weights)
        return torch.stack(outputs, 2), torch.stack(attention, 2) if attention else None


def expand(memory: Any, width: int) -> Any:
    """A memory (B, 1, ...) for `width` captions of each image; a view."""
    if isinstance(memory, Tensor):
        return memory.expand(-1, width, *memory.shape[2:])
    return type(memory)(expand(part, width) for part in memory)
