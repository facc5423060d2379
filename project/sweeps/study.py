"""The record of a sweep: which trials there are, who is at work on them, and what they came to.

It is an Optuna study in one SQLite file, and several processes may work on it. Each trial has a folder with a lock, which
its process and that process's training hold as long as one of them lives: the system lets go of it however they end, so
what a killed process left behind is found at once.

A sweep's directory may be shared, so what the study says is data: directories' names, options and values are checked, and
a link that leads out of the directory is refused.
"""

from __future__ import annotations

import fcntl
import json
import math
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
import optuna
from optuna.samplers import TPESampler
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, Trial, TrialState

from project.errors import CheckpointError, RunError
from project.redaction import hide_secrets
from project.runs.checkpoints import read_checkpoint
from project.runs.directory import RunDirectory, find_runs
from project.runs.loggers import read_metrics
from project.runs.records import DamagedFileError
from project.sweeps.space import Space

_FOLDER = re.compile(r"trial_\d{3,9}")
_SUPER_JOURNAL = bytes.fromhex("d9d505f920a163d7")  # the end of a journal that names a file, which SQLite deletes
_PATIENCE = 60.0  # seconds for which one process waits while another writes


@dataclass
class Turn:
    """A trial of this process.

    Attributes:
        trial: of the study.
        folder: its name below the sweep's folder, which is the name of its runs.
        goes_on: whether an earlier trial of the same options was interrupted in this folder.
        lock: which is held until it is closed.
    """

    trial: Trial
    folder: str
    goes_on: bool
    lock: IO[bytes]
    reported: int = 0


class Sweep:
    """A study and the folder of its trials.

    Args:
        folder: where the trials' runs lie; made if need be.
        study: the file, by default `study.db` in the folder.
        space: what is chosen from.
        monitor: the metric that trials are compared by.
        mode: whether less or more of it is better.
        seed: of what is chosen, as a function of the seed, the trial's number and the trials before.
        config: what all trials share, of plain JSON types; it must not change.

    Raises:
        RunError: the file is no study, or one of other trials.
    """

    def __init__(
        self,
        folder: Path,
        study: Path | None,
        space: Space,
        monitor: str,
        mode: Literal["min", "max"],
        seed: int = 0,
        config: dict[str, Any] | None = None,
    ) -> None:
        self.folder, self.space, self.monitor, self.seed = folder, space, monitor, seed
        self.file = study or folder / "study.db"
        self._mine: dict[int, Turn] = {}
        shared = json.loads(json.dumps({"space": space.plain(), "config": hide_secrets(config), "mode": mode}))
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            check_contained(folder)
            _check_journal(self.file)
            with self._locked():
                self._storage = RDBStorage(
                    f"sqlite:///{self.file}", engine_kwargs={"connect_args": {"timeout": _PATIENCE}}
                )
                self.study = optuna.create_study(
                    storage=self._storage,
                    study_name=folder.name,
                    direction="maximize" if mode == "max" else "minimize",
                    pruner=space.pruner,
                    load_if_exists=True,
                )
                if not self.study.user_attrs:
                    if not self.study.get_trials(deepcopy=False) and any(folder.glob("trial_*/version_*")):
                        raise RunError(f"--study: {self.file}: is new, and {folder} has trials of another one; give "
                                       "another --name, or that study")  # fmt: skip
                    self.study.set_user_attr("shared", shared)
            kept = self.study.user_attrs["shared"]
            different = next((what for what, value in shared.items() if kept[what] != value), None)
            if different is None:
                self.latest()
        except RunError:
            raise
        except OSError as error:
            raise RunError(f"{error.filename}: cannot be written ({error.strerror}); choose another "
                           "--trainer.default_root_dir or --study") from None  # fmt: skip
        except Exception as error:  # a damaged file is found wherever SQLAlchemy and Optuna first stumble over it
            reason = str(error).partition("\n")[0] or type(error).__name__
            raise RunError(f"--study: {self.file}: cannot be opened ({reason}); choose another file") from None
        if different is not None:
            raise RunError(f"--study: {self.file}: has trials of another {different}; give another --name, or the same "
                           "options again")  # fmt: skip

    def close(self) -> None:
        """Lets go of the file, and of trials that are under way."""
        for turn in self._mine.values():
            turn.lock.close()
        self._storage.remove_session()
        self._storage.engine.dispose()

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Inside it no other process changes the study."""
        with open(self.folder / "lock", "ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    # ---- one trial after another

    def begin(self, trials: int) -> Turn | None:
        """A trial to work on; None where as many as are wanted are finished or under way.

        Args:
            trials: how many are wanted in all.
        """
        with self._locked():
            self._recover()
            latest = self.latest().values()
            if sum(trial.state != TrialState.WAITING for trial in latest) >= trials:
                return None
            number = len(self.latest())  # one that was interrupted has several trials
            # what is drawn does not depend on which process draws, nor on how often it was started
            seed = np.random.SeedSequence([self.seed, number]).generate_state(1)[0]
            self.study.sampler = TPESampler(seed=int(seed))
            trial = self.study.ask(self.space.distributions)
            folder = _folder(trial)
            (self.folder / folder).mkdir(exist_ok=True)
            lock = open(self._lock_of(folder), "ab")  # noqa: SIM115  held until the trial has ended
            turn = Turn(trial, folder, "folder" in trial.user_attrs, lock)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                lock.close()
                raise RunError(
                    f"--study: {self.folder / folder} is at work for another study; give another --name"
                ) from None
            self._mine[trial.number] = turn
            return turn

    def report(self, turn: Turn, values: list[float]) -> bool:
        """Notes what the trial's validations have found so far; returns whether it is not worth going on."""
        pruned = False
        with self._locked():
            for place in range(turn.reported, len(values)):
                turn.trial.report(values[place], place)
                pruned = pruned or turn.trial.should_prune()
        turn.reported = len(values)
        return pruned

    def complete(self, turn: Turn) -> float | None:
        """The trial came to its end; returns its value, or None where it left none and so has failed."""
        value = best_value(self.run_of(turn.folder))
        if value is None:
            self.fail(turn, "it left no best checkpoint, which has the value of a trial")
        else:
            self._tell(turn, TrialState.COMPLETE, value)
        return value

    def prune(self, turn: Turn) -> None:
        """The trial was stopped, since others do better."""
        self._tell(turn, TrialState.PRUNED)

    def fail(self, turn: Turn, reason: str) -> None:
        """The trial did not come to its end by itself, and will not be tried again."""
        with self._locked():
            turn.trial.set_user_attr("reason", reason)
        self._tell(turn, TrialState.FAIL)

    def give_back(self, turn: Turn) -> None:
        """The trial was interrupted, and will be gone on with."""
        self._tell(turn, TrialState.FAIL, goes_on=True)

    def _tell(self, turn: Turn, state: TrialState, value: float | None = None, goes_on: bool = False) -> None:
        with self._locked():  # or another process would find it waiting while its lock is held
            if goes_on:
                self._enqueue(self.study.trials[turn.trial.number])
            self.study.tell(turn.trial, value, state)
            del self._mine[turn.trial.number]
            turn.lock.close()

    def _recover(self) -> None:
        """Looks for trials whose process is gone: they ended well without it, or are waiting again."""
        latest = self.latest()
        for trial in self.study.get_trials(deepcopy=False, states=[TrialState.RUNNING]):
            if trial.number in self._mine or not self._is_free(_folder(trial)):
                continue
            run = self.run_of(_folder(trial))
            if run and run.finished and (value := best_value(run)) is not None:
                reporting = Trial(self.study, trial._trial_id)
                for place, found in list(enumerate(validations(run, self.monitor)))[len(trial.intermediate_values) :]:
                    reporting.report(found, place)
                self.study.tell(trial.number, value)
                continue
            if latest[_folder(trial)].number == trial.number:
                self._enqueue(trial)
            self.study.tell(trial.number, state=TrialState.FAIL)

    def _enqueue(self, trial: FrozenTrial) -> None:
        self.study.enqueue_trial(trial.params, user_attrs={"folder": _folder(trial)})

    def _lock_of(self, folder: str) -> Path:
        return self.folder / folder / "lock"

    def _is_free(self, folder: str) -> bool:
        try:
            with open(self._lock_of(folder), "rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except FileNotFoundError:  # killed before it was made
            return True
        except BlockingIOError:
            return False
        return True

    # ---- what there is

    def latest(self) -> dict[str, FrozenTrial]:
        """What became of each folder: one that was gone on with has several trials, of which the last counts.

        Raises:
            RunError: a trial is none of this space, or names another folder than a trial's.
        """
        trials = self.study.get_trials(deepcopy=False)
        for trial in trials:
            self._check(trial)
        return {_folder(trial): trial for trial in trials}

    def _check(self, trial: FrozenTrial) -> None:
        """A trial's options become those of a command, and its folder is written to."""
        where = f"--study: {self.file}: trial {trial.number}"
        if not _FOLDER.fullmatch(str(_folder(trial))):
            raise RunError(f"{where}: {_folder(trial)!r} is no folder of a trial; remove the study, or give another")
        for name, value in (trial.params | trial.system_attrs.get("fixed_params", {})).items():
            if not self.space.contains(name, value):
                raise RunError(f"{where}: {name} {value!r} is not in the space; remove the study, or give another")
        if trial.state == TrialState.COMPLETE and not (trial.value is not None and math.isfinite(trial.value)):
            raise RunError(f"{where}: its value is {trial.value}; remove the study, or give another")

    def finished(self) -> int:
        """How many trials need no more work."""
        return sum(trial.state.is_finished() for trial in self.latest().values())

    def run_of(self, folder: str) -> RunDirectory | None:
        """The run of a trial: the first that came to its end, since later ones repeat it; or else the newest."""
        runs = find_runs(self.folder, folder)
        return next((run for run in runs if run.finished), runs[-1] if runs else None)


def best_value(run: RunDirectory | None) -> float | None:
    """The monitored metric of a run's best checkpoint, if it has one."""
    path = run and run.checkpoints / "best.ckpt"
    if not path or not path.is_file():
        return None
    try:
        value = read_checkpoint(path)["callbacks"]["SaveCheckpoints"]["best_value"]
    except (CheckpointError, KeyError, TypeError):
        value = None
    return value if isinstance(value, float) and math.isfinite(value) else None


def validations(run: RunDirectory | None, monitor: str) -> list[float]:
    """What each validation of a run has found so far."""
    if run is None:
        return []
    with suppress(DamagedFileError):
        return [float(row[monitor]) for row in read_metrics(run).values() if row.get(monitor)]
    return []


def check_contained(folder: Path) -> None:
    """Refuses what would be written through to elsewhere, or waited for: links out of a folder, and what is no file.

    Raises:
        RunError: there is one, at any depth.
    """
    root = folder.resolve()
    for parent, folders, files in os.walk(root):
        for path in (Path(parent, name) for name in (*folders, *files)):
            if path.is_symlink() and not Path(os.path.realpath(path)).is_relative_to(root):
                raise RunError(f"{path}: leads out of {folder} to {os.path.realpath(path)}; remove it")
            if path.exists() and not (path.is_dir() or path.is_file()):
                raise RunError(f"{path}: is neither a file nor a folder; remove it")


def _check_journal(study: Path) -> None:
    """SQLite rolls back what a killed process left, and deletes a file that its journal names, as ours never does."""
    journal = study.with_name(f"{study.name}-journal")
    if journal.is_symlink() or (journal.is_file() and journal.read_bytes().endswith(_SUPER_JOURNAL)):
        raise RunError(f"{journal}: is no journal of a sweep; remove it together with {study}")


def _folder(trial: Trial | FrozenTrial) -> str:
    return trial.user_attrs.get("folder", f"trial_{trial.number:03}")
