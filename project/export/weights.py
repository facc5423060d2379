"""Weights alone, in a file that runs nothing, with what rebuilds their task."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from project.errors import CheckpointError
from project.export.subject import TASKS, Subject, rebuild
from project.tasks import Task
from project.yaml_files import dump_json, load_json


def to_safetensors(subject: Subject, about: dict[str, Any]) -> bytes:
    """A safetensors file with the hyper-parameters in its metadata."""
    from safetensors.torch import save

    facts = json.dumps(subject.checkpoint["hyper_parameters"])
    # copies: tied weights lie in the file twice, and all of them in the order of their axes
    weights = {name: value.clone().contiguous() for name, value in subject.task.state_dict().items()}
    return save(weights, {"task": about["task"], "hyper_parameters": facts, "about": dump_json(about)})


def load_safetensors(path: str | Path) -> Task:
    """The task of an exported `.safetensors`, with its weights, in evaluation mode.

    Args:
        path: as `scripts/export.py --format safetensors` wrote it.

    Raises:
        CheckpointError: the file is absent, damaged, or not one of these.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            facts = file.metadata() or {}
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  it is no dictionary
    except FileNotFoundError:
        raise CheckpointError(f"{path}: there is no such file") from None
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: not a safetensors file, or a damaged one ({error})") from None
    if facts.get("task") not in TASKS or "hyper_parameters" not in facts:
        raise CheckpointError(f"{path}: does not say what network its weights are of; write it with scripts/export.py")
    try:
        options = load_json(facts["hyper_parameters"])
    except ValueError as error:
        raise CheckpointError(f"{path}: hyper_parameters: {error}") from None
    return rebuild(facts["task"], options, weights)
