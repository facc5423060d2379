"""Where a result comes from: command, commit, versions, hardware, data."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from project.redaction import hide_in_arguments
from project.runs.directory import RunDirectory
from project.runs.records import take_record
from project.yaml_files import dump_json, load_json

_PROVENANCE = "provenance.json"

_LIBRARIES = ("torch", "torchvision", "lightning", "torchmetrics", "jsonargparse", "numpy", "pillow", "scikit-learn")


def collect_provenance(
    command: list[str], data: dict[str, Any], checkpoint: dict[str, Any] | None = None
) -> dict[str, Any]:
    """What a run should be able to say of itself years later, as plain JSON types.

    Args:
        command: the arguments after `python -m project`.
        data: the datamodule's fingerprint.
        checkpoint: the file that the command goes on from or looks at, and the `steps` that it was trained for.
    """
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": "python -m project " + shlex.join(hide_in_arguments(command)),
        "checkpoint": checkpoint,
        "git": _git_state(),
        "python": platform.python_version(),
        "libraries": {name: metadata.version(name) for name in _LIBRARIES},
        "hardware": {
            "platform": platform.platform(),
            "cpu": _cpu_name(),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        },
        "data": data,
    }


def append_provenance(run: RunDirectory, entry: dict[str, Any]) -> None:
    """Adds one start to the run's `provenance.json`, a list with one entry for each start and resume."""
    entries = take_record(run.path / _PROVENANCE, _parse_provenance) or []
    run.write_text(_PROVENANCE, dump_json([*entries, entry], indent=2) + "\n")


def _parse_provenance(text: str) -> list[dict[str, Any]]:
    entries = load_json(text)
    if not isinstance(entries, list):
        raise ValueError("no list of entries")
    for entry in entries:
        datetime.fromisoformat(entry["time"])
        if not isinstance(entry["command"], str):
            raise ValueError("an entry without a command")
    return entries


def _git_state() -> dict[str, Any] | None:
    """Commit and cleanliness of the source, or nothing where it is no checkout."""

    def git(*arguments: str) -> str:
        folder = Path(__file__).parent
        return subprocess.run(
            ["git", *arguments], cwd=folder, capture_output=True, encoding="utf-8", check=True, timeout=10
        ).stdout.strip()

    try:
        return {"commit": git("rev-parse", "HEAD"), "clean": not git("status", "--porcelain", "--untracked-files=no")}
    except (OSError, subprocess.SubprocessError):
        return None


def _cpu_name() -> str:
    if sys.platform == "linux":
        for line in Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
