"""ROUGE-L against coco-caption's scorer, live and frozen."""

from __future__ import annotations

import random

import pytest
from pycocoevalcap.rouge.rouge import Rouge

from project.metrics.captions import ROUGEL


def test_it_equals_coco_captions_frozen_scores(golden_scores):
    for name, corpus in golden_scores.items():
        metric = ROUGEL()
        metric.update(corpus["predictions"], corpus["references"], corpus["ids"])
        assert metric.compute().item() == pytest.approx(corpus["rouge_l"], rel=0, abs=1e-9), name
        for key, score in metric.per_image().items():
            expected = corpus["per_image"][str(key)]["rouge_l"]
            assert score.item() == pytest.approx(expected, rel=0, abs=1e-9), (name, key)


def test_it_equals_coco_captions_scorer(random_captions):
    for predictions, references in random_captions:
        gts, res = dict(enumerate(references)), {i: [text] for i, text in enumerate(predictions)}
        expected, per_image = Rouge().compute_score(gts, res)
        metric = ROUGEL(tokenize=str.split)
        metric.update(predictions, references)
        assert metric.compute().item() == pytest.approx(expected, rel=0, abs=1e-12)
        assert [score.item() for score in metric.per_image().values()] == pytest.approx(per_image, rel=0, abs=1e-12)


def test_common_subsequences_equal_those_of_the_usual_table():
    draw = random.Random(0)
    for _ in range(300):
        one, other = ([draw.choice("abcd") for _ in range(draw.randint(1, 90))] for _ in range(2))
        table = [[0] * (len(other) + 1) for _ in range(len(one) + 1)]
        for i, word in enumerate(one, start=1):
            for j, another in enumerate(other, start=1):
                same = table[i - 1][j - 1] + 1
                table[i][j] = same if word == another else max(table[i - 1][j], table[i][j - 1])
        common = table[-1][-1]
        precision, recall = common / len(one), common / len(other)
        metric = ROUGEL(tokenize=str.split)
        metric.update([" ".join(one)], [[" ".join(other)]])
        expected = 2.44 * precision * recall / (recall + 1.44 * precision) if common else 0
        assert metric.compute().item() == pytest.approx(expected, rel=1e-12)


def test_precision_and_recall_are_the_best_of_different_references():
    metric = ROUGEL(tokenize=str.split)
    metric.update(["a b"], [["a b c d", "b"]])
    assert metric.compute().item() == pytest.approx(1.0), "precision 1 of the first, recall 1 of the second"
