"""The captions of a split as one matrix of numbers, and which of them an epoch shows.

Shapes: N images, M captions in all, R captions of each image, T words with the end's mark.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from project.data.captions.vocabulary import PAD, Vocabulary
from project.data.draws import uniforms

_COLUMN = 1 << 20  # of the random numbers: far behind those of the augmentation, which has the same seed


class TokenTable:
    """Every caption of a split, on the device that trains.

    Args:
        words: of each of the N images, each caption's.
        vocabulary: what numbers they have.
        max_words: the rest of a longer caption is cut off.
        device: where batches are made.
    """

    def __init__(
        self, words: list[list[list[str]]], vocabulary: Vocabulary, max_words: int, device: torch.device
    ) -> None:
        lengths: list[int] = []

        def encoded() -> Iterator[int]:
            for captions in words:
                for caption in captions:
                    numbers = vocabulary.encode(caption, max_words)
                    lengths.append(len(numbers))
                    yield from numbers

        flat = np.fromiter(encoded(), np.int32)  # and not half a million lists
        # behind the last caption a row of padding, which stands for the captions that an image does not have
        self._lengths = torch.tensor([*lengths, 0])
        matrix = torch.full((len(lengths) + 1, max(lengths)), PAD, dtype=torch.int32)
        matrix[torch.arange(max(lengths)) < self._lengths[:, None]] = torch.from_numpy(flat)
        self._matrix = matrix.to(device)
        self.counts = np.array([len(captions) for captions in words])
        self.most = int(self.counts.max())
        self._starts = np.cumsum(self.counts) - self.counts

    @property
    def device(self) -> torch.device:
        """Where the captions are."""
        return self._matrix.device

    def all_rows(self) -> Tensor:
        """The rows of every image's captions, (N, R) int64 on the device, R the largest number that an image has."""
        return self._rows(np.arange(self.most)[None].repeat(len(self.counts), 0), self.counts)

    def drawn_rows(self, seed: int, epoch: int, count: int) -> Tensor:
        """The rows of the captions that an epoch shows, (N, R) int64 on the device: all images' at once.

        Of an image with more than R captions, R different ones are drawn, each as likely as any other: a function of
        (seed, epoch, index). R is `count`, or the largest number that an image has.
        """
        count = min(count, self.most)
        chosen = np.arange(count)[None].repeat(len(self.counts), 0)
        many = np.flatnonzero(self.counts > count)
        if len(many):
            draws = uniforms(seed, epoch, many, self.most, _COLUMN)
            draws[np.arange(self.most) >= self.counts[many, None]] = 1.0  # they have no such caption
            chosen[many] = np.argsort(draws, axis=1, kind="stable")[:, :count]
        return self._rows(chosen, np.minimum(self.counts, count))

    def _rows(self, chosen: np.ndarray, counts: np.ndarray) -> Tensor:
        absent = np.arange(chosen.shape[1]) >= counts[:, None]
        rows = np.where(absent, len(self._matrix) - 1, self._starts[:, None] + chosen)
        return torch.from_numpy(rows).to(self.device, non_blocking=True)

    def gather(self, rows: Tensor) -> Tensor:
        """The captions in `rows`, (B, R) int64: (B, R, T) int64.

        T is the longest one's on the processor, where asking costs nothing; elsewhere the split's longest, so that
        shapes stay the same and nothing waits for the device.
        """
        tokens = self._matrix[rows]
        if self.device.type == "cpu":
            tokens = tokens[..., : int(self._lengths[rows].max())]
        return tokens.long()
