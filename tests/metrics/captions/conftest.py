"""Captions to score: frozen ones with coco-caption's scores, and random ones."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

GOLDEN = Path(__file__).parents[1] / "golden" / "caption_scores.json"


@pytest.fixture(scope="session")
def golden_scores() -> dict[str, dict]:
    """Corpora with coco-caption's scores of them, Java tokeniser included; from `scripts/golden_captions.py scores`."""
    return json.loads(GOLDEN.read_text())


@pytest.fixture(scope="session")
def random_captions() -> list[tuple[list[str], list[list[str]]]]:
    """Predictions and references of one to a hundred images, tokens joined by a space; none is empty."""
    corpora = []
    for seed, (images, longest, words) in enumerate([(1, 3, 5), (2, 6, 4), (3, 12, 8), (40, 8, 20), (100, 14, 300)]):
        draw = random.Random(seed)
        weights = [1 / (place + 1) for place in range(words)]
        names = [f"w{place}" for place in range(words)]
        caption = lambda d=draw, n=names, w=weights, m=longest: " ".join(d.choices(n, w, k=d.randint(1, m)))  # noqa: E731
        corpora.append(
            (
                [caption() for _ in range(images)],
                [[caption() for _ in range(draw.randint(1, 5))] for _ in range(images)],
            )
        )
    return corpora
