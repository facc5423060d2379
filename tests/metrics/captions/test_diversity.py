"""Diversity and exact matches, counted by hand."""

from __future__ import annotations

import math

import pytest

from project.metrics.captions import CaptionDiversity, ExactMatch

CAPTIONS = ["a dog runs", "a dog runs", "A cat <unk> .", "a"]


def compute(metric, captions):
    metric.update(captions, [["a dog runs."]] * len(captions))
    result = metric.compute()
    return {name: value.item() for name, value in result.items()} if isinstance(result, dict) else result.item()


def test_diversity_by_hand():
    values = compute(CaptionDiversity(["A dog runs!", "a bird"]), CAPTIONS)
    assert values == {
        "distinct_1": 5 / 10,  # a, dog, runs, cat, <unk>
        "distinct_2": 4 / 6,
        "distinct_captions": 3 / 4,
        "vocabulary_used": 5.0,
        "mean_length": 2.5,
        "unknown_rate": 1 / 10,
        "novel_captions": 2 / 4,
    }


def test_the_same_caption_for_every_image_shows():
    values = compute(CaptionDiversity(), ["a man riding a wave"] * 50)
    assert values["distinct_captions"] == 1 / 50
    assert values["distinct_1"] == 4 / 250
    assert "novel_captions" not in values


def test_empty_captions_have_no_ratios():
    values = compute(CaptionDiversity(), ["", "."])
    assert math.isnan(values["distinct_1"])
    assert math.isnan(values["unknown_rate"])
    assert values["mean_length"] == 0
    assert values["distinct_captions"] == 0.5


def test_exact_matches_are_of_tokens():
    assert compute(ExactMatch(), CAPTIONS) == pytest.approx(0.5)
    assert compute(ExactMatch(), ["A dog runs", "a dog  runs !", "dog runs a"]) == pytest.approx(2 / 3)
