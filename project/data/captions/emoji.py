"""The embedded set of captioned images: emoji and their names."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any, Literal

import numpy as np

from project.data.captions.base import CaptionDataModule
from project.data.captions.openmoji import emoji_names, rendered
from project.data.captions.samples import CaptionedSamples
from project.data.samples import Split
from project.errors import ConfigError

_SIZE = 72  # pixels, the grid that OpenMoji is drawn on
_SHARES: tuple[tuple[Split, float], ...] = (("test", 0.1), ("val", 0.2), ("train", 1.0))  # cumulated
_TONES = {"1F3FB": "light", "1F3FC": "medium-light", "1F3FD": "medium", "1F3FE": "medium-dark", "1F3FF": "dark"}
_GENDERS = {
    "female": {"woman", "women", "girl"},
    "male": {"man", "men", "boy"},
    "neutral": {"person", "people", "adult", "child"},
}
_COLOUR_VARIANT = "FE0F"
# two people of two skin tones are spelt as two people, the same two of one tone as a pair
_PAIRS = {
    "1FAF1-200D-1FAF2": "1F91D",  # handshake
    "1F469-200D-1F91D-200D-1F468": "1F46B",  # holding hands
    "1F468-200D-1F91D-200D-1F468": "1F46C",
    "1F469-200D-1F91D-200D-1F469": "1F46D",
    "1F9D1-200D-1F430-200D-1F9D1": "1F46F",  # with bunny ears
    "1F468-200D-1F430-200D-1F468": "1F46F-200D-2642",
    "1F469-200D-1F430-200D-1F469": "1F46F-200D-2640",
    "1F9D1-200D-1FAEF-200D-1F9D1": "1F93C",  # wrestling
    "1F468-200D-1FAEF-200D-1F468": "1F93C-200D-2642",
    "1F469-200D-1FAEF-200D-1F469": "1F93C-200D-2640",
    "1F9D1-200D-2764-200D-1F48B-200D-1F9D1": "1F48F",  # kiss
    "1F9D1-200D-2764-200D-1F9D1": "1F491",  # couple with heart
}


class Emoji(CaptionDataModule):
    """3,953 drawings of 72 × 72 pixels with one caption each, their Unicode name: `woman running dark skin tone`.

    The drawings are OpenMoji's, the open-source emoji and icon project, under CC BY-SA 4.0. They are rendered over white
    once, in some seconds, and kept in `cache_dir`.

    The splits are fixed, whatever the seeds: about 80 % for training and 10 % each for validation and testing.

    Args:
        split: `drawings` keeps those that differ only in skin tone together, so that what the test split shows is new
            (but for 18 drawings of a man or a woman that are those of a person, under another name); `compositional`
            shares out every one alone, so that most of the test split is new combinations of what was seen apart.
        **options: those of `CaptionDataModule`.
    """

    def __init__(self, split: Literal["drawings", "compositional"] = "drawings", **options: Any) -> None:
        super().__init__(**options)
        if split not in ("drawings", "compositional"):
            raise ConfigError(f"data.split: must be drawings or compositional; got {split}")
        self.split = split

    def load_splits(self) -> dict[Split, CaptionedSamples]:
        """All three, in memory."""
        names = emoji_names()
        sequences = list(names)
        images = rendered(sequences, _SIZE, self.cache_dir)
        everything = CaptionedSamples.of(images, [[names[sequence]] for sequence in sequences], "train")
        splits = self._splits_of(sequences)
        return {split: everything.take(np.flatnonzero(splits == split), split) for split in ("train", "val", "test")}

    def groups(self, split: Split) -> dict[str, list[str | None]]:
        """By skin tone, of what is drawn in several, and by gender, of people whose name tells or leaves it open."""
        names = emoji_names()
        sequences = np.array(list(names))
        toned = {drawing_of(sequence) for sequence in names if _tones_of(sequence)}
        here = sequences[self._splits_of(names) == split].tolist()
        tones = [tone_of(sequence) or ("none given" if drawing_of(sequence) in toned else None) for sequence in here]
        return {"skin tone": tones, "gender": [gender_of(names[sequence]) for sequence in here]}

    def _splits_of(self, sequences: Iterable[str]) -> np.ndarray:
        key = drawing_of if self.split == "drawings" else str
        return np.array([split_of(key(sequence)) for sequence in sequences])


def drawing_of(sequence: str) -> str:
    """What is drawn but for skin tones: a name for all the sequences that differ in nothing else."""
    points = [point for point in sequence.split("-") if point not in _TONES and point != _COLOUR_VARIANT]
    drawing = "-".join(points)
    return _PAIRS.get(drawing, drawing)


def tone_of(sequence: str) -> str | None:
    """The skin tone of who is drawn, `two tones` of two people who differ in it."""
    tones = set(_tones_of(sequence))
    return "two tones" if len(tones) > 1 else next(iter(tones), None)


def gender_of(name: str) -> str | None:
    """`female`, `male`, `both` or `neutral`, as a name says; `None` where it speaks of nobody by one of these words."""
    words = set(name.split())
    found = [gender for gender, known in _GENDERS.items() if words & known]
    return "both" if {"female", "male"} <= set(found) else next(iter(found), None)


def _tones_of(sequence: str) -> list[str]:
    return [_TONES[point] for point in sequence.split("-") if point in _TONES]


def split_of(key: str) -> Split:
    """The split of a key, by its hash alone: what other keys there are does not matter."""
    digest = hashlib.blake2b(b"0\0" + key.encode(), digest_size=8).digest()
    place = int.from_bytes(digest, "big") / 2**64
    return next(split for split, end in _SHARES if place < end)
