"""CIDEr-D against coco-caption's scorer, live and frozen."""

from __future__ import annotations

import pytest
from pycocoevalcap.cider.cider import Cider

from project.metrics.captions import CIDErD, DocumentFrequencies


def test_it_equals_coco_captions_frozen_scores(golden_scores):
    for name, corpus in golden_scores.items():
        metric = CIDErD()
        metric.update(corpus["predictions"], corpus["references"], corpus["ids"])
        assert metric.compute().item() == pytest.approx(corpus["cider_d"], rel=0, abs=1e-9), name
        for key, score in metric.per_image().items():
            expected = corpus["per_image"][str(key)]["cider_d"]
            assert score.item() == pytest.approx(expected, rel=0, abs=1e-9), (name, key)


def test_it_equals_coco_captions_scorer(random_captions):
    for predictions, references in random_captions:
        gts, res = dict(enumerate(references)), {i: [text] for i, text in enumerate(predictions)}
        expected, per_image = Cider().compute_score(gts, res)
        metric = CIDErD(tokenize=str.split)
        metric.update(predictions, references)
        assert metric.compute().item() == pytest.approx(expected, rel=0, abs=1e-9)
        assert [score.item() for score in metric.per_image().values()] == pytest.approx(per_image, rel=0, abs=1e-9)


CORPUS = [["a dog runs", "the dog runs fast"], ["a cat sleeps"], ["a red car", "a car on a road"], ["two men talk"]]


def test_frequencies_are_numbers_of_images():
    frequencies = DocumentFrequencies.of(CORPUS)
    assert frequencies.num_images == 4
    assert frequencies.counts["a",] == 3, "twice in one image counts once"
    assert frequencies.counts["dog", "runs"] == 1
    assert frequencies.counts["a", "car", "on", "a"] == 1
    assert ("two", "men", "talk", "a") not in frequencies.counts
    grams = {("a",), ("b",), ("a", "b"), ("b", "a"), ("a", "b", "a")}
    assert DocumentFrequencies.of([["a b a", "b"]]).counts == dict.fromkeys(grams, 1), "and nothing else"


def test_given_frequencies_of_the_same_images_change_nothing():
    predictions = ["a dog runs", "a cat", "a red car on a road", "men talk"]
    plain, given = CIDErD(), CIDErD(DocumentFrequencies.of(CORPUS))
    for metric in (plain, given):
        metric.update(predictions, CORPUS)
    assert given.compute().item() == pytest.approx(plain.compute().item(), rel=0, abs=1e-12)


def test_one_image_has_a_score_of_its_own_with_given_frequencies():
    alone = CIDErD()
    alone.update(["a dog runs"], [["a dog runs"]])
    assert alone.compute().item() == 0, "coco-caption's, where log 1 = 0"
    given = CIDErD(DocumentFrequencies.of(CORPUS))
    given.update(["the dog runs fast"], [["the dog runs fast"]])
    assert given.compute().item() == pytest.approx(10, abs=1e-12)
    together = CIDErD(DocumentFrequencies.of(CORPUS))
    together.update(["a dog", "a cat sleeps"], [CORPUS[0], CORPUS[1]], [0, 1])
    one = CIDErD(DocumentFrequencies.of(CORPUS))
    one.update(["a dog"], [CORPUS[0]], [0])
    assert together.per_image()[0] == one.compute(), "other images do not matter"
