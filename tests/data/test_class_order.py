"""Orders of class names."""

from __future__ import annotations

import random

import pytest

from project.data.class_order import order_classes, sorted_as_texts
from project.errors import ConfigError

NUMBERS = [str(number) for number in range(12)]


@pytest.mark.parametrize(
    ("names", "by_name", "natural"),
    [
        (["2", "10", "1"], ["1", "10", "2"], ["1", "2", "10"]),
        (["-10", "-2", "3"], ["-10", "-2", "3"], ["-10", "-2", "3"]),
        (["-2", "-10"], ["-10", "-2"], ["-10", "-2"]),
        (["010", "2"], ["010", "2"], ["2", "010"]),
        (["n2b", "n10a", "n2a", "m"], ["m", "n10a", "n2a", "n2b"], ["m", "n2a", "n2b", "n10a"]),
        (["7 up", "cat", "Dog"], ["7 up", "Dog", "cat"], ["7 up", "Dog", "cat"]),
    ],
)
def test_order_classes_by_name_is_that_of_texts_and_natural_that_of_numbers(names, by_name, natural):
    assert order_classes(names, "name") == by_name
    assert order_classes(names, "natural") == natural


def test_order_classes_of_1000_numbers_is_numeric():
    names = [str(number) for number in range(1000)]
    assert order_classes(random.Random(0).sample(names, 1000), "natural") == names


def test_order_classes_takes_a_list_of_all_names():
    assert order_classes(["a", "b", "c"], ["c", "a", "b"]) == ["c", "a", "b"]


@pytest.mark.parametrize(
    ("order", "message"),
    [
        (["cat", "dgo"], r"^data\.class_order: 'dgo' is no class; did you mean 'dog'\?$"),
        (["cat"], r"^data\.class_order: lacks 1 of 2 classes, the first of them 'dog'"),
        (["cat", "dog", "cat"], r"^data\.class_order: 'cat' occurs 2 times"),
    ],
)
def test_order_classes_refuses_a_list_of_other_names(order, message):
    with pytest.raises(ConfigError, match=message):
        order_classes(["cat", "dog"], order)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (sorted(NUMBERS), "'11' before '2'"),
        (["0", "180", "270", "90"], "'270' before '90'"),
        (NUMBERS, None),
        (["00", "01", "10"], None),
        (["1", "10", "2", "x"], None),
    ],
)
def test_sorted_as_texts_names_numbers_out_of_order(names, expected):
    assert sorted_as_texts(names) == expected
