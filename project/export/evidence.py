"""What is known of a checkpoint besides its weights: how it was trained, on what, and what was measured."""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from project.data.augmentation import Augmentation
from project.export.subject import Subject
from project.runs.directory import RunDirectory
from project.runs.results import FACTS, results_path
from project.yaml_files import read_json

_SAME = {"student": "best"}  # the best one's student has the same weights


class Evidence(NamedTuple):
    """Of a checkpoint that lies in its run; all of it may be missing.

    trained: the latest start of training, as `provenance.json` has it.
    measured: by `test` and `validate`, the command that measured this very checkpoint after it was trained, the
        metrics that it found, and the precision that it computed in.
    recipe: the options of training that say most.
    data_set: the name of its class.
    """

    trained: dict[str, Any]
    measured: dict[str, tuple[str, dict[str, float], str]]
    recipe: dict[str, Any]
    data_set: str


def gather(subject: Subject) -> Evidence:
    """Reads what lies beside the checkpoint."""
    run = RunDirectory.of_checkpoint(subject.path)
    if run is None:
        return Evidence({}, {}, *_of_config(subject))
    entries = _starts(run.path / "provenance.json")
    trained: dict[str, Any] = {}
    measured: dict[str, tuple[str, dict[str, float], str]] = {}
    for entry in reversed(entries):
        verb = entry["command"].partition("python -m project ")[2].partition(" ")[0]
        if verb == "fit":
            trained = entry
            break
        looked_at = str(_mapping(entry, "checkpoint").get("file", ""))
        if verb not in ("test", "validate") or verb in measured or _same(looked_at) != _same(subject.path):
            continue
        path = results_path(run, verb, "metrics.json", run.checkpoints / looked_at)
        if _began(entry) > _written(path):
            continue  # it was stopped before it had found anything
        facts, metrics = _metrics(path)
        if metrics and facts.get("checkpoint") == looked_at:  # earlier versions had one file for all
            measured[verb] = entry["command"], metrics, str(facts.get("precision", "not recorded"))
    return Evidence(trained, measured, *_of_config(subject))


def _of_config(subject: Subject) -> tuple[dict[str, Any], str]:
    """The recipe, and the name of the data set's class."""
    config = _without_tensors(_mapping(subject.checkpoint, "config"))
    return _recipe(config), str(_mapping(config, "data").get("class_path") or "").rpartition(".")[2]


def _without_tensors(options: dict[str, Any]) -> dict[str, Any]:
    """Without tensors, which no option is and a checkpoint may hold."""
    return {
        name: _without_tensors(value) if isinstance(value, dict) else value
        for name, value in options.items()
        if not isinstance(value, Tensor)
    }


def _read(path: Path) -> Any:
    """What a file of the run says; a damaged one says nothing."""
    with suppress(OSError, ValueError):
        return read_json(path)
    return None


def _starts(path: Path) -> list[dict[str, Any]]:
    """The entries of `provenance.json`; what is not as it was written is left out."""
    entries = _read(path)
    found = []
    for entry in entries if isinstance(entries, list) else []:
        with suppress(TypeError, ValueError, KeyError, OverflowError):
            datetime.fromisoformat(entry["time"]).timestamp()
            data = {
                split: {"samples": int(its["samples"]), "fingerprint": str(its["fingerprint"])}
                for split, its in _mapping(entry, "data").items()
                if split in ("train", "val", "test")
            }
            git = {"commit": str(_mapping(entry, "git")["commit"])} if entry.get("git") else {}
            found.append(entry | {"command": str(entry["command"]), "data": data, "git": git})
    return found


def _metrics(path: Path) -> tuple[dict[str, str], dict[str, float]]:
    """What is no metric, such as the precision, and the metrics."""
    content = _read(path)
    found = content if isinstance(content, dict) else {}
    facts = {name: found[name] for name in FACTS if isinstance(found.get(name), str)}
    return facts, {name: value for name, value in found.items() if isinstance(value, float)}


def _mapping(tree: dict[str, Any], name: str) -> dict[str, Any]:
    value = tree.get(name)
    return value if isinstance(value, dict) else {}


def _began(entry: dict[str, Any]) -> float:
    return datetime.fromisoformat(entry["time"]).timestamp()


def _written(path: Path) -> float:
    return path.stat().st_mtime if path.is_file() else math.inf


def _same(path: str | Path) -> str:
    """The name of a checkpoint without its suffix, the same for two of the same weights."""
    name = Path(path).stem
    return _SAME.get(name, name)


def _recipe(config: dict[str, Any]) -> dict[str, Any]:
    model, data = (_mapping(_mapping(config, section), "init_args") for section in ("model", "data"))
    trainer, usual = _mapping(config, "trainer"), asdict(Augmentation())
    augment = _mapping(data, "augment")
    told = {
        "epochs": trainer.get("max_epochs"),
        "precision": trainer.get("precision"),
        "batch_size": data.get("batch_size"),
        "gradient_clip_val": trainer.get("gradient_clip_val"),
        "ema_decay": _mapping(config, "ema").get("decay"),
        **{name: model.get(name) for name in ("weights", "init_from", "optimizer", "lr_scheduler", "label_smoothing")},
        "augment": {name: value for name, value in augment.items() if name != "fill" and value != usual.get(name)},
    }
    seed = {"seed": config["seed"]} if config.get("seed") is not None else {}
    return seed | _pruned(told)


def _pruned(options: dict[str, Any]) -> dict[str, Any]:
    """Without what is off."""
    inside = {name: _pruned(value) if isinstance(value, dict) else value for name, value in options.items()}
    return {name: value for name, value in inside.items() if value not in (None, 0, False, {}, [])}
