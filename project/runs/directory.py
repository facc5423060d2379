"""One directory a run, `ROOT/NAME/version_N`: made before the first batch, found again by name or by checkpoint."""

from __future__ import annotations

import copy
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from lightning.pytorch.utilities.rank_zero import rank_zero_info

from project.errors import CheckpointError, RunError
from project.files import remove_leftovers, temporary_path, write_text
from project.redaction import hide_in_yaml, hide_secrets
from project.runs.locks import PATIENCE, Lock
from project.runs.precision import fastest_precision
from project.runs.records import MEBIBYTE, DamagedFileError, free_path, read_record, set_aside, take_record
from project.text import print_lines
from project.yaml_files import dump_json, load_json, load_yaml

CONFIG = "config.yaml"
_STATUS = "status.json"
_STATES = ("running", "finished", "interrupted", "failed")
_VERSION = re.compile(r"version_(\d+)$")
_WRITTEN = (".yaml", ".json", ".jsonl", ".csv", ".txt", ".html", ".ckpt")


@dataclass
class RunDirectory:
    """A run's place on disk.

    It holds `config.yaml`, `metrics.csv`, TensorBoard events, `provenance.json`, `status.json` and `checkpoints/`;
    `test` and `predict` add their results.

    Attributes:
        path: the directory; another one after `check_present` has found it removed or renamed.
        moves: how often that was so; a new one may have the earlier path.
    """

    path: Path
    moves: int = field(default=0, init=False, repr=False, compare=False)
    _lock: Lock | None = field(default=None, init=False, repr=False, compare=False)
    _descriptor: int | None = field(default=None, init=False, repr=False, compare=False)
    _texts: dict[str, str] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __reduce__(self) -> tuple[type[RunDirectory], tuple[Path]]:
        """Another process learns the path alone."""
        return RunDirectory, (self.path,)

    @classmethod
    def create(cls, root: str | Path, name: str) -> RunDirectory:
        """The next free version below `root/name`; two processes never get the same.

        Raises:
            RunError: it cannot be made or written.
        """
        parent, version = Path(root, name), 0
        _check_utf8(parent)
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
        return cls(folder) if os.path.lexists(folder / CONFIG) else None

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
        """Makes the checkpoint folder and writes files, so that a run fails now and not at its first save.

        What is in the place of a file and is none, such as a directory or a FIFO, is set aside.

        Raises:
            RunError: the directory cannot be written.
        """
        _check_utf8(self.path)
        if self.checkpoints.is_symlink():  # it would have checkpoints replaced elsewhere
            raise RunError(f"{self.checkpoints}: is a link; put the directory itself there")
        try:
            self.checkpoints.mkdir(parents=True, exist_ok=True)
            for folder in (self.path, self.checkpoints):
                probe = temporary_path(folder / "probe")
                probe.touch(exist_ok=False)
                probe.unlink()
                for path in folder.iterdir():
                    if path.suffix in _WRITTEN and (path.is_symlink() or not path.is_file()):
                        set_aside(path, "not a regular file")
        except OSError as error:
            raise _unwritable(self.path, error.strerror) from None

    @contextmanager
    def held(self, alone: bool) -> Iterator[None]:
        """Inside it `check_present` notices when the directory is removed or renamed.

        Args:
            alone: whether no other process may train here meanwhile.

        Raises:
            RunError: another process trains here, or the directory cannot be written.
        """
        try:
            self._hold(alone)
            yield
        finally:
            self._release()

    def _hold(self, alone: bool) -> None:
        try:
            if os.name == "posix":  # an open directory, whose number no other one can get
                self._descriptor = os.open(self.path, os.O_RDONLY)
            if alone:
                busy = f"ckpt_path: {self.path}: is being trained by {{}}; wait for it, or start a new run"
                self._lock = Lock(self.path / ".lock", busy)
        except OSError as error:
            raise _unwritable(self.path, error.strerror) from None

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.release()
        if self._descriptor is not None:
            os.close(self._descriptor)
        self._lock = self._descriptor = None

    def check_present(self) -> bool:
        """Goes on in a new version where the directory was removed or renamed since it was locked; returns whether.

        What `write_text` has written is written again there.

        Raises:
            RunError: no new one can be made.
        """
        if self._descriptor is None:
            return False
        with suppress(OSError):
            if os.path.samestat(os.fstat(self._descriptor), os.stat(self.path)):
                return False
        earlier, alone = self.path, self._lock is not None
        self._release()
        self.path = RunDirectory.create(earlier.parent.parent, earlier.parent.name).path
        self.moves += 1
        self._hold(alone)
        for name, text in self._texts.items():
            write_text(self.path / name, text)
        print_lines(f"{earlier}: was removed or renamed; the run goes on in {self.path}")
        return True

    def write_text(self, name: str, text: str) -> None:
        """Replaces a text file of the run in one step."""
        self.check_present()
        write_text(self.path / name, text)
        self._texts[name] = text

    def remove_leftovers(self) -> None:
        """Removes what a killed process left half-written; for the process that trains on."""
        remove_leftovers(self.path)
        remove_leftovers(self.checkpoints)

    def discard_if_empty(self) -> None:
        """Removes a directory in which nothing happened: a run that failed before its first result."""
        results = ("*metrics*.csv", "*metrics*.json", "*predictions*.jsonl")
        if any(next(self.path.glob(name), None) for name in results):
            return
        if not (self.checkpoints.is_dir() and any(self.checkpoints.iterdir())):
            shutil.rmtree(self.path)
            for parent in self.path.parents[:2]:
                if not any(parent.iterdir()):
                    parent.rmdir()

    def read_config(self) -> dict[str, Any]:
        """The configuration that the run was started or last resumed with.

        Raises:
            RunError: it is absent or damaged.
        """
        path = self.path / CONFIG
        try:
            config = read_record(path, _parse_config, _LARGEST_CONFIG)
        except DamagedFileError as error:
            raise RunError(f"{path}: cannot be read ({error})") from None
        if config is None:
            raise RunError(f"{path}: cannot be read (there is no such file)")
        return config

    def write_config(self, text: str) -> None:
        """Keeps the configuration, without secrets; an earlier, different one stays beside it as `config.before_resume_N.yaml`."""
        text = hide_in_yaml(text)
        earlier = take_record(self.path / CONFIG, _config_text, _LARGEST_CONFIG)
        if earlier not in (None, text):
            write_text(free_path(self.path, "config.before_resume_{}.yaml"), earlier)  # before it is replaced
        self.write_text(CONFIG, text)

    @property
    def status(self) -> str:
        """`running`, `finished`, `interrupted` or `failed`; empty where nothing was trained."""
        try:
            return read_record(self.path / _STATUS, _parse_status) or ""
        except DamagedFileError:
            return ""

    @property
    def finished(self) -> bool:
        """Whether training came to its end."""
        return self.status == "finished"

    def write_status(self, status: str) -> None:
        """Notes what `status` says."""
        take_record(self.path / _STATUS, _parse_status)
        self.write_text(_STATUS, dump_json({"status": status}) + "\n")


def _check_utf8(path: Path) -> None:
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise _unwritable(path, "TensorBoard writes to paths in UTF-8 alone") from None


_LARGEST_CONFIG = 4 * MEBIBYTE


def _parse_config(text: str) -> dict[str, Any]:
    content = load_yaml(text)
    if not isinstance(content, dict):
        raise ValueError("not a configuration")
    return content


def _config_text(text: str) -> str:
    _parse_config(text)
    return text


def _parse_status(text: str) -> str:
    status = load_json(text)["status"]
    if status not in _STATES:
        raise ValueError("not a status")
    return status


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


def checkpoint_of(path: Path, word: str, option: str = "ckpt_path") -> Path:
    """A checkpoint as it is given; of a run's directory, its `best.ckpt` or `last.ckpt`, for the words `best` and `last`.

    Args:
        path: of a checkpoint or of a run.
        word: `best` or `last`.
        option: that the path is of, for messages.

    Raises:
        CheckpointError: the directory is no run that has one.
    """
    if not path.is_dir():
        return path
    found = path / "checkpoints" / f"{word}.ckpt"
    if os.path.lexists(path / CONFIG) and found.is_file():
        return found
    runs = find_runs(path.parent, path.name)  # it has the versions of a name
    runs = runs or [run for name in sorted(path.iterdir()) for run in find_runs(path, name.name)]
    if not runs and os.path.lexists(path.parent / CONFIG):
        runs = [RunDirectory(path.parent)]
    hint = f"; give a run, such as {runs[-1].path}" if runs else ""
    raise CheckpointError(f"{option}: {path}: the folder is no run with a checkpoints/{word}.ckpt{hint}")


def find_unfinished(config: dict[str, Any], root: str | Path, name: str) -> Path | None:
    """The `last.ckpt` of the newest unfinished run that `was_started_with` this configuration."""
    for run in reversed(find_runs(root, name)):
        path = run.checkpoints / "last.ckpt"
        if path.is_file() and not run.finished and was_started_with(run, config):
            return path
    return None


def was_started_with(run: RunDirectory, config: dict[str, Any]) -> bool:
    """Whether a run has this configuration.

    Options that there were not when it was started do not count, nor do places to write to, nor a precision that is only
    this machine's default: a job may be queued again on another machine, and continues in the checkpoint's precision.
    """
    try:
        kept = _without_places(hide_secrets(run.read_config()))
    except RunError as error:
        rank_zero_info(f"{error}; whether it is a run of this configuration is unknown, and it is left alone")
        return False
    lost = {"model", "data", "trainer"} & config.keys() - kept.keys()  # it was cut off
    if lost or not isinstance(kept.get("trainer", {}), dict):
        return False
    config = _known(_without_places(hide_secrets(config)), kept)
    for name, section in config.items():
        if isinstance(section, dict) and isinstance(kept[name], dict):
            config[name] = section = _known(section, kept[name])
            if isinstance(section.get("init_args"), dict) and isinstance(kept[name].get("init_args"), dict | None):
                section["init_args"] = _known(section["init_args"], kept[name].get("init_args") or {})
    precision = (config.get("trainer") or {}).get("precision")
    if precision == fastest_precision():
        config["trainer"]["precision"] = kept["trainer"].get("precision")
    return config == kept


def _without_places(config: dict[str, Any]) -> dict[str, Any]:
    """The configuration without the places that a resumed run does not restore: its directory, and the cache."""
    found = copy.deepcopy(config)
    for *sections, option in (("name",), ("trainer", "default_root_dir"), ("data", "init_args", "cache_dir")):
        options: Any = found
        for section in sections:
            options = options.get(section) if isinstance(options, dict) else None
        if isinstance(options, dict):
            options.pop(option, None)
    return found


@contextmanager
def lock_start(config: dict[str, Any], root: str | Path, name: str, patience: float = PATIENCE) -> Iterator[None]:
    """Inside it no other process that calls this starts or goes on with a run of the same configuration.

    Args:
        config: the configuration, as plain types.
        root: the directory of all runs.
        name: of the run.
        patience: see `Lock`.

    Raises:
        RunError: another process does, or the directory cannot be written.
    """
    parent = Path(root, name)
    new = [folder for folder in (parent, *parent.parents) if not folder.exists()]
    key = sha256(json.dumps(config, sort_keys=True, default=str).encode()).hexdigest()[:16]
    busy = f"ckpt_path: {parent}: a run of this configuration is being trained by {{}}; wait for it, or leave ckpt_path out"
    try:
        parent.mkdir(parents=True, exist_ok=True)
        lock = Lock(parent / f".{key}.lock", busy, patience)
    except OSError as error:
        raise _unwritable(parent, error.strerror) from None
    try:
        with lock:
            yield
    finally:
        for folder in new:
            with suppress(OSError):  # it has a run now
                folder.rmdir()


def _known(options: dict[str, Any], kept: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name in kept}


def _unwritable(path: Path, reason: str | None) -> RunError:
    return RunError(f"trainer.default_root_dir: cannot write {path} ({reason}); choose another folder")
