"""Relative paths in checkpoints: opened from another working directory they still name the files of their run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

STARTED_IN = "started_in"
"""The key of a checkpoint with the working directory of its run, relative to the run's directory."""
_PATHS = frozenset(
    [
        "annotations",
        "ensemble",
        "features",
        "images",
        "init_from",
        "root",
        "table",
        "teacher",
        "test_annotations",
        "test_images",
        "val_annotations",
        "val_images",
    ]
)


def started_in(run: Path) -> str:
    """The working directory, relative to a run's: it names no place of the machine, and both may be moved together."""
    return os.path.relpath(os.getcwd(), run.resolve())


def resolve_paths(checkpoint: dict[str, Any], path: Path) -> None:
    """Replaces the relative paths in a checkpoint's options that name a file of its run, where that was started elsewhere.

    Others stay: names such as those of pretrained weights, and files that lie relative to the present directory.

    Args:
        checkpoint: its content.
        path: its file.
    """
    run = path.resolve().parent.parent
    place = checkpoint.get(STARTED_IN)
    if not isinstance(place, str) or not os.path.lexists(run / "config.yaml"):
        return  # of an earlier version, or copied out of its run
    base = os.path.normpath(run / place)
    if os.path.normpath(os.getcwd()) != base:
        resolve_options([checkpoint.get("hyper_parameters"), checkpoint.get("config")], base)


def resolve_options(options: Any, base: str) -> None:
    """Replaces relative paths in options, a tree of plain types, by the files below `base` that they name."""
    for tree, key in list(_named(options)):
        tree[key] = _resolved(tree[key], base)


def _named(tree: Any) -> Iterator[tuple[Any, str]]:
    """Each mapping below a tree, with each of its keys that is an option with paths."""
    for each in tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ():
        yield from _named(each)
    if isinstance(tree, dict):
        yield from ((tree, key) for key in tree if key in _PATHS)


def _resolved(value: Any, base: str) -> Any:
    if isinstance(value, (list, tuple)):
        return [_resolved(each, base) for each in value]
    if not isinstance(value, str) or not value or os.path.isabs(value):
        return value
    found = os.path.join(base, value)
    return os.path.relpath(found) if os.path.exists(found) else value
