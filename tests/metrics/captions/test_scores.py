"""The collection that a captioner is measured by: each as by itself, tokenised once."""

from __future__ import annotations

from collections import Counter

import pytest

from project.metrics.captions import BLEU, ROUGEL, CaptionDiversity, CaptionScores, CIDErD, ExactMatch
from project.metrics.captions import corpus as corpus_module

PREDICTIONS = ["a dog on grass", "a cat sleeps", "two men play chess"]
REFERENCES = [["a dog lies on the grass", "a dog"], ["a cat sleeps"], ["men play chess .", "two men"]]


def test_each_equals_the_metric_by_itself():
    scores = CaptionScores(training_captions=["a cat sleeps"])
    scores.update(PREDICTIONS[:1], REFERENCES[:1], [0])
    scores.update(PREDICTIONS[1:], REFERENCES[1:], [1, 2])
    values = scores.compute()
    expected = {}
    for metric, name in (
        (BLEU(), None), (ROUGEL(), "rouge_l"), (CIDErD(), "cider_d"), (ExactMatch(), "exact_match"),
        (CaptionDiversity(["a cat sleeps"]), None),
    ):  # fmt: skip
        metric.update(PREDICTIONS, REFERENCES, [0, 1, 2])
        value = metric.compute()
        if isinstance(metric, BLEU):
            expected |= {f"bleu_{n}": part.item() for n, part in enumerate(value, start=1)}
        elif name:
            expected[name] = value.item()
        else:
            expected |= {key: part.item() for key, part in value.items()}
    assert values == expected
    assert list(values)[:4] == ["bleu_1", "bleu_2", "bleu_3", "bleu_4"]


def test_another_tokenizer_is_that_of_every_metric():
    words = [["左边", "一个", "红色", "的", "十字"], ["右边", "一个", "蓝色", "的", "圆盘"]]
    joined = [" ".join(each) for each in words]
    scores = CaptionScores(joined[:1], tokenize=str.split)
    scores.update(joined, [[text] for text in joined], [0, 1])
    found = scores.compute()
    assert [found[name] for name in ("bleu_4", "rouge_l", "exact_match")] == pytest.approx([1, 1, 1], abs=1e-6)
    assert found["cider_d"] == pytest.approx(10)
    assert (found["novel_captions"], found["vocabulary_used"], found["mean_length"]) == (0.5, 8, 5)
    for reference, kept in (("左边", 1), ("左边。", 0)):  # a tokenizer of English would drop nothing here either
        scores.reset()
        scores.update(["左边"], [[reference]], [0])
        assert scores.compute()["exact_match"] == kept


def test_captions_are_tokenised_once_together_and_once_each(monkeypatch):
    seen = Counter()
    for name in ("ptb_tokenize_file", "ptb_tokenize"):
        real = getattr(corpus_module, name)
        monkeypatch.setattr(corpus_module, name, lambda texts, n=name, r=real: seen.update([n]) or r(texts))
    scores = CaptionScores()
    for metric in scores.metrics.values(copy_state=False):
        monkeypatch.setattr(metric, "tokenize", corpus_module.ptb_tokenize)
    scores.update(PREDICTIONS, REFERENCES)
    assert not seen, "training goes on before captions are tokenised"
    assert scores.compute() == scores.compute()
    assert seen == {"ptb_tokenize_file": 2, "ptb_tokenize": len(PREDICTIONS) + sum(map(len, REFERENCES))}


def test_a_new_epoch_begins_empty():
    scores = CaptionScores()
    scores.update(PREDICTIONS, REFERENCES)
    first = scores.compute()
    scores.reset()
    scores.update(PREDICTIONS[:1], REFERENCES[:1])
    assert scores.compute()["mean_length"] == 4
    scores.reset()
    scores.update(PREDICTIONS, REFERENCES)
    assert scores.compute() == pytest.approx(first, nan_ok=True)
