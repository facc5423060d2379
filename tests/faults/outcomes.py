"""What the runs of these tests leave behind, and whether it is the same."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import torch

from project.runs.checkpoints import read_checkpoint

TASKS = ("Classifier", "Captioner", "Distiller", "CaptionDistiller")
EPOCHS, STEPS = 3, 24  # of an epoch; a recovery checkpoint follows the twentieth


def steps_of(directory: Path, which: str = "last") -> int:
    """How many steps a checkpoint, which must open, was trained for; 0 where there is none."""
    path = directory / "checkpoints" / f"{which}.ckpt"
    return read_checkpoint(path)["global_step"] if path.exists() else 0


def rows(directory: Path) -> list[dict[str, str]]:
    """Those of `metrics.csv`."""
    with open(directory / "metrics.csv", newline="") as file:
        return list(csv.DictReader(file))


def leftovers(directory: Path) -> list[str]:
    """Temporary files."""
    return [path.name for path in directory.rglob(".*")]


def assert_same_run(one: Path, other: Path) -> None:
    """Weights, their average, optimizer, schedule, random state, best value and metrics are the same bits."""
    for which in ("best", "last"):
        found, expected = (_flat(read_checkpoint(run / "checkpoints" / f"{which}.ckpt")) for run in (one, other))
        names = sorted(found.keys() | expected.keys())
        different = [name for name in names if name not in found or found[name] != expected.get(name)]
        assert different == [], f"{which}.ckpt: {different}"
    assert rows(one) == rows(other), "metrics.csv"
    assert leftovers(one) == [], leftovers(one)


def _flat(value: Any, name: str = "") -> dict[str, Any]:
    """Every leaf of a checkpoint by its path, without what says where and how often the run was started."""
    if isinstance(value, torch.Tensor):
        return {name: (value.dtype, value.shape, value.numpy().tobytes())}
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, (list, tuple)):
        items = enumerate(value)
    else:
        return {name: value}
    left_out = ("/config", "/loops", "/started_in")
    inside = {f"{name}/{key}": content for key, content in items}
    return {k: v for path, content in inside.items() if path not in left_out for k, v in _flat(content, path).items()}
