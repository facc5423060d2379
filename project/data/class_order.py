"""Orders of class names: a class's label is its place."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Literal

from project.errors import ConfigError, did_you_mean

ClassOrder = Literal["name", "natural"] | list[str]
_INTEGER = re.compile(r"[+-]?[0-9]+")


def order_classes(names: Iterable[str], order: ClassOrder) -> list[str]:
    """Names in order: by `name`, as texts; `natural`, with numbers in them by their value; or as a list has them.

    Raises:
        ConfigError: the list has other names.
    """
    by_name = sorted(names)
    if order == "name":
        return by_name
    if order == "natural":
        return sorted(by_name, key=int if _are_integers(by_name) else _natural)
    for name, count in Counter(order).items():
        if name not in by_name:
            raise ConfigError(f"data.class_order: '{name}' is no class; {did_you_mean(name, by_name)}")
        if count > 1:
            raise ConfigError(f"data.class_order: '{name}' occurs {count} times; name each class once")
    if missing := [name for name in by_name if name not in order]:
        raise ConfigError(f"data.class_order: lacks {len(missing)} of {len(by_name)} classes, the first of them '{missing[0]}'; "
                          "name each class once")  # fmt: skip
    return list(order)


def sorted_as_texts(names: Sequence[str]) -> str | None:
    """Two integers among the names of which the larger one comes first, as '10' before '2'; None where there are none."""
    if _are_integers(names):
        for first, second in pairwise(names):
            if int(first) > int(second):
                return f"'{first}' before '{second}'"
    return None


def _are_integers(names: Sequence[str]) -> bool:
    return all(map(_INTEGER.fullmatch, names))


def _natural(name: str) -> list[tuple[str, int]]:
    parts = re.split("([0-9]+)", name)  # text and digits in turn
    return [(text, int(digits or 0)) for text, digits in zip(parts[::2], [*parts[1::2], ""], strict=True)]
