"""What is known of a checkpoint besides its weights: how it was trained, on what, and what was measured."""

from __future__ import annotations

import json
import math
import shlex
from contextlib import suppress
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from project.data.augmentation import Augmentation
from project.export.subject import Subject
from project.runs.directory import RunDirectory

_SAME = {"student": "best"}  # the best one's student has the same weights


class Evidence(NamedTuple):
    """Of a checkpoint that lies in its run; all of it may be missing.

    trained: the latest start of training, as `provenance.json` has it.
    measured: by `test` and `validate`, the command that measured this very checkpoint after it was trained, and the
        metrics that it found.
    recipe: the options of training that say most.
    data_set: the name of its class.
    """

    trained: dict[str, Any]
    measured: dict[str, tuple[str, dict[str, float]]]
    recipe: dict[str, Any]
    data_set: str


def gather(subject: Subject) -> Evidence:
    """Reads what lies beside the checkpoint."""
    run = RunDirectory.of_checkpoint(subject.path)
    if run is None:
        return Evidence({}, {}, *_of_config(subject))
    entries = _read(run.path / "provenance.json", [])
    trained: dict[str, Any] = {}
    measured: dict[str, tuple[str, dict[str, float]]] = {}
    for entry in reversed(entries):
        verb = shlex.split(entry["command"])[3]  # after `python -m project`
        if verb == "fit":
            trained = entry
            break
        if verb in ("test", "validate") and _began(entry) > _written(run.path / f"{verb}_metrics.json"):
            continue  # it was stopped before it had found anything
        if verb in ("test", "validate") and verb not in measured and _is_of(entry.get("checkpoint"), subject.path):
            measured[verb] = entry["command"], _read(run.path / f"{verb}_metrics.json", {})
        elif verb in ("test", "validate"):
            measured.setdefault(verb, ("", {}))  # the file has another checkpoint's numbers
    found = {verb: value for verb, value in measured.items() if value[1]}
    return Evidence(trained, found, *_of_config(subject))


def _of_config(subject: Subject) -> tuple[dict[str, Any], str]:
    """The recipe, and the name of the data set's class."""
    config = subject.checkpoint.get("config") or {}
    return _recipe(config), ((config.get("data") or {}).get("class_path") or "").rpartition(".")[2]


def _read(path: Path, otherwise: Any) -> Any:
    """What a file of the run says; a damaged one says nothing."""
    with suppress(OSError, ValueError):
        return json.loads(path.read_text())
    return otherwise


def _began(entry: dict[str, Any]) -> float:
    return datetime.fromisoformat(entry["time"]).timestamp()


def _written(path: Path) -> float:
    return path.stat().st_mtime if path.is_file() else math.inf


def _is_of(checkpoint: dict[str, Any] | None, path: Path) -> bool:
    """Whether a command looked at this checkpoint of the run."""
    looked_at, exported = (Path((checkpoint or {}).get("file", "")).stem, path.stem)
    return _SAME.get(looked_at, looked_at) == _SAME.get(exported, exported)


def _recipe(config: dict[str, Any]) -> dict[str, Any]:
    model, data = ((config.get(section) or {}).get("init_args", {}) for section in ("model", "data"))
    trainer, usual = config.get("trainer") or {}, asdict(Augmentation())
    augment = data.get("augment") or {}
    told = {
        "epochs": trainer.get("max_epochs"),
        "precision": trainer.get("precision"),
        "batch_size": data.get("batch_size"),
        "gradient_clip_val": trainer.get("gradient_clip_val"),
        "ema_decay": (config.get("ema") or {}).get("decay"),
        **{name: model.get(name) for name in ("weights", "init_from", "optimizer", "lr_scheduler", "label_smoothing")},
        "augment": {name: value for name, value in augment.items() if name != "fill" and value != usual.get(name)},
    }
    seed = {"seed": config["seed"]} if config.get("seed") is not None else {}
    return seed | _pruned(told)


def _pruned(options: dict[str, Any]) -> dict[str, Any]:
    """Without what is off."""
    inside = {name: _pruned(value) if isinstance(value, dict) else value for name, value in options.items()}
    return {name: value for name, value in inside.items() if value not in (None, 0, False, {}, [])}
