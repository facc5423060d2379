"""Sweeps whose trials are played: each look at one is a validation of a run directory like those that training leaves."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.pruners import NopPruner

from project.runs.directory import RunDirectory, find_runs
from project.runs.loggers import MetricsCSV
from project.sweeps.space import Space
from project.sweeps.study import Sweep
from project.sweeps.work import Stop, Work

MONITOR = "val/accuracy"


class Played:
    """A trial in the place of its process.

    Args:
        curve: what its validations find, from its options.
        statuses: exit statuses in the place of 0, one a trial in the order of their start.
    """

    def __init__(self, curve: Callable[[dict[str, str]], list[float]], statuses: list[int] | None = None) -> None:
        self.curve, self.statuses = curve, statuses or []
        self.started: list[list[str]] = []
        self.alive = self.most_alive = 0

    def __call__(self, arguments: list[str], output: Path, lock) -> _Process:
        options = dict(argument.removeprefix("--").split("=") for argument in arguments if "=" in argument)
        where = dict(pairwise(arguments))
        root, name = where["--trainer.default_root_dir"], where["--name"]
        runs = find_runs(root, name)
        run = runs[-1] if where.get("--ckpt_path") == "auto" and runs else RunDirectory.create(root, name)
        self.started.append(arguments)
        status = self.statuses.pop(0) if self.statuses else 0
        if status == 2:
            output.write_text("some lines\nerror: data.root: is missing\n")
        elif status:
            output.write_text("Traceback\nZeroDivisionError: division by zero\n")
        self.alive += 1
        self.most_alive = max(self.alive, self.most_alive)
        return _Process(self, run, self.curve(options), status)


class _Process:
    def __init__(self, played: Played, run: RunDirectory, values: list[float], status: int) -> None:
        self.played, self.run, self.values, self.final = played, run, values, status
        file = run.path / "metrics.csv"
        self.done = len(file.read_text().splitlines()) - 1 if file.exists() else 0
        self.status: int | None = None
        self.asked = False

    def poll(self) -> int | None:
        if self.status is None:
            if self.asked:
                self._end(143, "interrupted")
            elif self.final:
                self._end(self.final, "failed")
            elif self.done == len(self.values):
                self._end(0, "finished")
            else:
                self._validate()
        return self.status

    def terminate(self) -> None:
        self.asked = True

    def _validate(self) -> None:
        table = MetricsCSV(self.run, resume_step=self.done)
        table.log_metrics({"epoch": self.done, MONITOR: self.values[self.done]}, self.done)
        table.save()
        self.done += 1
        best = {"SaveCheckpoints": {"monitor": MONITOR, "best_value": max(self.values[: self.done])}}
        content = {"state_dict": {}, "task": "Classifier", "hyper_parameters": {}, "callbacks": best}
        torch.save(content, self.run.checkpoints / "best.ckpt")

    def _end(self, status: int, word: str) -> None:
        self.status = status
        self.run.write_status(word)
        self.played.alive -= 1


@pytest.fixture
def space() -> Space:
    """Two options."""
    kinds = {"model.optimizer.lr": FloatDistribution(0.01, 1.0, log=True)}
    return Space(kinds | {"model.width": CategoricalDistribution(["8", "16"])}, NopPruner())


@pytest.fixture
def curve() -> Callable[[dict[str, str]], list[float]]:
    """Best at a rate of 0.3, and a little better when wide."""

    def values(options: dict[str, str]) -> list[float]:
        final = 0.9 - abs(float(options["model.optimizer.lr"]) - 0.3) + 0.05 * (options["model.width"] == "16")
        return [final - 0.2, final - 0.1, final]

    return values


@pytest.fixture
def new_sweep(tmp_path, space):
    """Opens the sweep in the test's folder, as a process does when it starts: (space, **others)."""
    opened = []

    def make(space: Space = space, **others: object) -> Sweep:
        options = {
            "folder": tmp_path / "sweep-x",
            "study": None,
            "monitor": MONITOR,
            "mode": "max",
            "seed": 0,
            "config": {"a": 1},
        }
        opened.append(Sweep(space=space, **(options | others)))
        return opened[-1]

    yield make
    for sweep in opened:
        sweep.close()


@pytest.fixture
def work():
    """Works on a sweep with played trials: (sweep, played, trials, jobs, stop)."""

    def run(sweep: Sweep, played: Played, trials: int, jobs: int = 1, stop: Stop | None = None) -> None:
        Work(sweep, ["--config", "c.yaml"], played, seconds=0).run(trials, jobs, stop or Stop())

    return run


@pytest.fixture
def play() -> type[Played]:
    """See `Played`."""
    return Played
