"""BLEU against coco-caption's scorer, live and frozen."""

from __future__ import annotations

import pytest
import torch
from pycocoevalcap.bleu.bleu import Bleu

from project.metrics.captions import BLEU


def test_it_equals_coco_captions_frozen_scores(golden_scores):
    for name, corpus in golden_scores.items():
        metric = BLEU()
        metric.update(corpus["predictions"], corpus["references"], corpus["ids"])
        assert metric.compute().tolist() == pytest.approx(corpus["bleu"], rel=0, abs=1e-9), name
        for key, scores in metric.per_image().items():
            assert scores.tolist() == pytest.approx(corpus["per_image"][str(key)]["bleu"], rel=0, abs=1e-9), (name, key)


def test_it_equals_coco_captions_scorer(random_captions):
    for predictions, references in random_captions:
        gts, res = dict(enumerate(references)), {i: [text] for i, text in enumerate(predictions)}
        expected, per_image = Bleu(4).compute_score(gts, res, verbose=0)
        metric = BLEU(tokenize=str.split)
        metric.update(predictions, references)
        assert metric.compute().tolist() == pytest.approx(expected, rel=0, abs=1e-12)
        for place, scores in metric.per_image().items():
            assert scores.tolist() == pytest.approx([bleu[place] for bleu in per_image], rel=0, abs=1e-12)


def test_it_is_one_for_a_caption_that_is_its_reference():
    metric = BLEU()
    metric.update(["a man rides a red bicycle"], [["A man rides a red bicycle."]])
    assert metric.compute().tolist() == pytest.approx([1] * 4, abs=1e-8)


def test_the_length_compared_with_is_the_shorter_of_two_equally_close():
    metric = BLEU(tokenize=str.split)
    metric.update(["a b c d e"], [["a b c d e f g", "a b c"]])
    assert metric.compute()[0].item() == pytest.approx(1, abs=1e-8), "against seven words there were a penalty"


def test_words_are_counted_no_more_often_than_a_reference_has_them():
    metric = BLEU(tokenize=str.split)
    metric.update(["the the the the the the the"], [["the cat is on the mat", "there is a cat on the mat"]])
    assert metric.compute()[0].item() == pytest.approx(2 / 7, abs=1e-8)  # Papineni et al. 2002, example 2


def test_nothing_scored_is_no_number():
    metric = BLEU()
    metric.update([], [])
    assert metric.compute().isnan().all()
    assert metric.compute().shape == (4,)
    assert metric.compute().dtype == torch.float64
