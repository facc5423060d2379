"""Facts that the data determine for a task, and their comparison with those of a task that was built by itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from project.errors import ConfigError

FACTS = ("class_names", "vocabulary", "max_words", "tokenizer", "image_size", "center_crop", "value_range")
"""Arguments of a task that the data determine in training, and the checkpoint afterwards."""
_LONGEST = 80  # characters of a value in a message


def check_facts(data: Any, options: Mapping[str, Any], names: Iterable[str] = FACTS) -> None:
    """Compares a task's facts with the data's; a fact that either lacks is not compared.

    Args:
        data: a datamodule.
        options: the task's hyperparameters.
        names: of the facts to compare.

    Raises:
        ConfigError: one of them differs.
    """
    for name in names:
        if name not in options or not hasattr(data, name):
            continue
        ours, theirs = _plain(getattr(data, name)), _plain(options[name])
        if ours != theirs:
            raise ConfigError(f"data.{name}: {brief(ours)} contradicts the task's {brief(theirs)}{_first(ours, theirs)}; "
                              f"build the task with {name}=data.{name}, or give it the data that it was built for")  # fmt: skip


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, (list, tuple)) else value


def _first(ours: Any, theirs: Any) -> str:
    """The first difference of two lists, which a shortened value may not show."""
    if not (isinstance(ours, list) and isinstance(theirs, list)):
        return ""
    if len(ours) != len(theirs):
        return f" ({len(ours)} and {len(theirs)} names)"
    place = next(place for place, pair in enumerate(zip(ours, theirs, strict=True)) if pair[0] != pair[1])
    return f" (number {place}: {ours[place]!r} and {theirs[place]!r})"


def brief(value: Any) -> str:
    """A value for a message, without its end where it is long."""
    text = str(value)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."
