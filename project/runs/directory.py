"""One directory a run, `ROOT/NAME/version_N`: made before the first batch, found again by name or by checkpoint."""

from __future__ import annotations

import json
import os
import re
import shutil
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import yaml

from project.errors import CheckpointError, RunError
from project.files import remove_leftovers, write_text
from project.redaction import hide_in_yaml, hide_secrets
from project.runs.precision import fastest_precision

CONFIG = "config.yaml"
_STATUS = "status.json"
_VERSION = re.compile(r"version_(\d+)$")


@dataclass(frozen=True)
class RunDirectory:
    """A run's place on disk.

    It holds `config.yaml`, `metrics.csv`, TensorBoard events, `provenance.json`, `status.json` and `checkpoints/`;
    `test` and `predict` add their results.
    """

    path: Path

    @classmethod
    def create(cls, root: str | Path, name: str) -> RunDirectory:
        """The next free version below `root/name`; two processes never get the same.

        Raises:
            RunError: it cannot be made or written.
        """
        parent, version = Path(root, name), 0
        while True:
            try:
                version = max([version, *(run.version + 1 for run in find_runs(root, name))])
                path = parent / f"version_{version}"
                parent.mkdir(parents=True, exist_ok=True)
                path.mkdir()
                break
            except FileExistsError:
                if not parent.is_dir():
                    raise _unwritable(parent, "a file is in the way") from None
                version += 1  # another process was faster
            except OSError as error:
                raise _unwritable(parent, error.strerror) from None
        run = cls(path)
        run.check_writable()
        return run

    @classmethod
    def of_checkpoint(cls, path: str | Path) -> RunDirectory | None:
        """The run that wrote a checkpoint, if it still lies in one."""
        folder = Path(path).resolve().parent.parent
        return cls(folder) if (folder / CONFIG).is_file() else None

    @property
    def version(self) -> int:
        """N of `version_N`; -1 for a directory that was renamed."""
        match = _VERSION.search(self.path.name)
        return int(match[1]) if match else -1

    @property
    def checkpoints(self) -> Path:
        """The folder of `best.ckpt` and `last.ckpt`."""
        return self.path / "checkpoints"

    def check_writable(self) -> None:
        """Makes the checkpoint folder and writes a file in it, so that a run fails now and not at its first save.

        Raises:
            RunError: the directory cannot be written.
        """
        probe = self.checkpoints / f".probe.{os.getpid()}.tmp"
        try:
            self.checkpoints.mkdir(parents=True, exist_ok=True)
            probe.write_text("")
            probe.unlink()
        except OSError as error:
            raise _unwritable(self.path, error.strerror) from None

    def remove_leftovers(self) -> None:
        """Removes what a killed process left half-written; for the process that trains on."""
        remove_leftovers(self.path)
        remove_leftovers(self.checkpoints)

    def discard_if_empty(self) -> None:
        """Removes a directory in which nothing happened: a run that failed before its first result."""
        results = ("metrics.csv", "predictions.jsonl", "test_metrics.json", "validate_metrics.json")
        if not any((self.path / name).exists() for name in results) and not any(self.checkpoints.iterdir()):
            shutil.rmtree(self.path)
            for parent in self.path.parents[:2]:
                if not any(parent.iterdir()):
                    parent.rmdir()

    def read_config(self) -> dict[str, Any]:
        """The configuration that the run was started or last resumed with.

        Raises:
            RunError: it is absent or damaged.
        """
        try:
            return yaml.safe_load((self.path / CONFIG).read_text()) or {}
        except (OSError, yaml.YAMLError) as error:
            reason = str(getattr(error, "strerror", None) or error).partition("\n")[0]
            raise RunError(f"{self.path / CONFIG}: cannot be read ({reason})") from None

    def write_config(self, text: str) -> None:
        """Keeps the configuration, without secrets; an earlier, different one stays beside it as `config.before_resume_N.yaml`."""
        text = hide_in_yaml(text)
        target = self.path / CONFIG
        if target.exists() and (earlier := target.read_text()) != text:
            names = (self.path / f"config.before_resume_{number}.yaml" for number in count())
            write_text(next(path for path in names if not path.exists()), earlier)  # before it is replaced
        write_text(target, text)

    @property
    def status(self) -> str:
        """`running`, `finished`, `interrupted` or `failed`; empty where nothing was trained."""
        try:
            return json.loads((self.path / _STATUS).read_text())["status"]
        except (OSError, ValueError, KeyError):
            return ""

    @property
    def finished(self) -> bool:
        """Whether training came to its end."""
        return self.status == "finished"

    def write_status(self, status: str) -> None:
        """Notes what `status` says."""
        write_text(self.path / _STATUS, json.dumps({"status": status}) + "\n")


def find_runs(root: str | Path, name: str) -> list[RunDirectory]:
    """Every run below `root/name`, newest last."""
    parent = Path(root, name)
    runs = [RunDirectory(p) for p in parent.iterdir() if _VERSION.match(p.name)] if parent.is_dir() else []
    return sorted(runs, key=lambda run: run.version)


def find_checkpoint(word: str, root: str | Path, name: str) -> Path:
    """The newest `last.ckpt` or `best.ckpt` below `root/name`, for the words `last` and `best`.

    Raises:
        RunError: no run of that name has one.
    """
    for run in reversed(find_runs(root, name)):
        path = run.checkpoints / f"{word}.ckpt"
        if path.is_file():
            return path
    raise RunError(f"ckpt_path: no run in {Path(root, name)} has a {word}.ckpt; give a path, or another --name")


def checkpoint_of(path: Path, word: str) -> Path:
    """A checkpoint as it is given; of a run's folder, its `best.ckpt` or `last.ckpt`, for the words `best` and `last`.

    Raises:
        CheckpointError: the folder is no run that has one.
    """
    if not path.is_dir():
        return path
    found = path / "checkpoints" / f"{word}.ckpt"
    if not (path / CONFIG).is_file() or not found.is_file():
        raise CheckpointError(f"ckpt_path: {path}: the folder is no run with a checkpoints/{word}.ckpt")
    return found


def find_unfinished(config: dict[str, Any], root: str | Path, name: str) -> Path | None:
    """The `last.ckpt` of the newest unfinished run that `was_started_with` this configuration."""
    for run in reversed(find_runs(root, name)):
        path = run.checkpoints / "last.ckpt"
        if path.is_file() and not run.finished and was_started_with(run, config):
            return path
    return None


def was_started_with(run: RunDirectory, config: dict[str, Any]) -> bool:
    """Whether a run has this configuration.

    Options that there were not when it was started do not count, nor does a precision that is only this machine's default:
    a job may be queued again on another machine, and goes on in the checkpoint's precision.
    """
    try:
        kept = hide_secrets(run.read_config())
    except RunError:
        return False
    if not isinstance(kept, dict) or not isinstance(kept.get("trainer", {}), dict):
        return False
    config = _known(hide_secrets(config), kept)
    for name, section in config.items():
        if isinstance(section, dict) and isinstance(kept[name], dict):
            config[name] = section = _known(section, kept[name])
            if isinstance(section.get("init_args"), dict):
                section["init_args"] = _known(section["init_args"], kept[name]["init_args"] or {})
    precision = (config.get("trainer") or {}).get("precision")
    if precision == fastest_precision():
        config["trainer"]["precision"] = kept["trainer"].get("precision")
    return config == kept


def _known(options: dict[str, Any], kept: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name in kept}


def _unwritable(path: Path, reason: str | None) -> RunError:
    return RunError(f"trainer.default_root_dir: cannot write {path} ({reason}); choose another folder")
