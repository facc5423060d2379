"""Facts of the data against those of a task."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from project.data.facts import FACTS, check_facts
from project.errors import ConfigError

OWN = {
    "class_names": ["a", "b", "c"], "vocabulary": ["red", "disc"], "max_words": 8, "tokenizer": "ptb", "image_size": 16,
    "center_crop": 0.875, "value_range": [0, 4095],
}  # fmt: skip


def test_check_facts_of_equal_facts_passes():
    check_facts(SimpleNamespace(**OWN, other=1), OWN)
    check_facts(SimpleNamespace(**OWN | {"class_names": ("a", "b", "c")}), OWN)


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        ("image_size", 32, "data.image_size: 32 contradicts the task's 16; build the task with image_size=data.image_size, "),
        ("center_crop", 1.0, "data.center_crop: 1.0 contradicts the task's 0.875; build"),
        ("tokenizer", "unicode", "data.tokenizer: unicode contradicts the task's ptb; build"),
        ("value_range", None, "data.value_range: None contradicts the task's [0, 4095]; build"),
        ("max_words", 9, "data.max_words: 9 contradicts the task's 8; build"),
        ("vocabulary", ["red"], "data.vocabulary: ['red'] contradicts the task's ['red', 'disc'] (1 and 2 names); build"),
        ("class_names", ["a", "c", "b"], "data.class_names: ['a', 'c', 'b'] contradicts the task's ['a', 'b', 'c'] "
                                         "(number 1: 'c' and 'b'); build"),
    ],
)  # fmt: skip
def test_check_facts_of_another_value_names_both(name, value, line):
    with pytest.raises(ConfigError) as error:
        check_facts(SimpleNamespace(**OWN | {name: value}), OWN)
    assert str(error.value).startswith(line)


def test_check_facts_compares_every_fact_that_both_have():
    assert set(OWN) == set(FACTS)
    check_facts(SimpleNamespace(image_size=16), {"class_names": ["a", "b"]})
    check_facts(SimpleNamespace(**OWN | {"max_words": 9}), OWN, ("class_names", "image_size"))


def test_check_facts_of_long_lists_shows_the_first_difference():
    names = [f"class {number}" for number in range(1000)]
    with pytest.raises(ConfigError, match=r"\(number 999: 'x' and 'class 999'\)") as error:
        check_facts(SimpleNamespace(class_names=[*names[:-1], "x"]), {"class_names": names})
    assert len(str(error.value)) < 400
