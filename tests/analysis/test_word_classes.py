"""Words by class, counted by hand."""

from __future__ import annotations

import math
from itertools import combinations

import pytest

from project.analysis.word_classes import WORD_CLASSES, score_word_classes, word_class


def test_words_said_and_words_wanted():
    found = score_word_classes(
        ["A red cat running.", "two dogs", ""],
        [["a blue cat running", "a red cat"], ["two cats two"], ["a fish"]],
    ).set_index("class")
    assert found.to_dict("index") == {
        # `cat` and `dogs` are said, `cat` rightly; wanted are cat twice, cats and fish
        "animal": {"said": 2, "precision": 1 / 2, "wanted": 4, "recall": 2 / 4},
        "colour": {"said": 1, "precision": 1.0, "wanted": 2, "recall": 1 / 2},
        "action": {"said": 1, "precision": 1.0, "wanted": 1, "recall": 1.0},
        "number": {"said": 1, "precision": 1.0, "wanted": 1, "recall": 1.0},
        "function": {"said": 1, "precision": 1.0, "wanted": 3, "recall": 2 / 3},
    }


def test_a_share_of_nothing_is_no_number():
    found = score_word_classes(["zebra"], [["umbrella"]]).set_index("class")
    assert list(found.index) == ["animal", "other"]
    assert found.loc["animal", "precision"] == 0.0
    assert math.isnan(found.loc["animal", "recall"])
    assert math.isnan(found.loc["other", "precision"])


def test_perfect_captions_score_one():
    captions = ["woman running dark skin tone", "keycap 3"]
    found = score_word_classes(captions, [[caption] for caption in captions])
    assert (found[["precision", "recall"]] == 1).all(axis=None)
    assert found["said"].sum() == 7


def test_no_captions_give_an_empty_table():
    assert list(score_word_classes([], []).columns) == ["class", "said", "precision", "wanted", "recall"]


def test_the_lists_do_not_contradict_each_other():
    assert [sorted(a & b) for a, b in combinations(WORD_CLASSES.values(), 2) if a & b] == []
    assert all(word == word.lower() for words in WORD_CLASSES.values() for word in words)
    assert word_class("umbrella") == "other"


def test_most_words_of_the_emoji_are_in_a_class():
    from project.data.captions.openmoji import emoji_names
    from project.metrics.ptb_tokenizer import ptb_tokenize

    words = [word for name in emoji_names().values() for word in ptb_tokenize(name)]
    other = sum(word_class(word) == "other" for word in words) / len(words)
    assert other == pytest.approx(0.2, abs=0.02)


def test_both_must_have_the_same_images():
    with pytest.raises(ValueError, match="shorter"):
        score_word_classes(["a"], [])
