"""Trials as processes of the ordinary command line: started, watched, and stopped where it is not worth going on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import IO, Protocol

from project.errors import ConfigError
from project.runs.directory import find_runs
from project.runs.program import program
from project.runs.signals import INTERRUPT_STATUS, SIGTERM_STATUS, WARNINGS, announce, handlers, stop_at_once
from project.sweeps.space import as_arguments
from project.sweeps.study import Sweep, Turn, validations
from project.text import print_lines

_ROOT = Path(__file__).parents[2]
_MISTAKES = 3  # as many in a row that the user can mend are not the options' doing
OUTPUT = "output.txt"


class Process(Protocol):
    """What is needed of a `subprocess.Popen`."""

    def poll(self) -> int | None:
        """The exit status; None while it runs."""

    def terminate(self) -> None:
        """Sends SIGTERM."""


Start = Callable[[list[str], Path, IO[bytes]], Process]


def start_process(arguments: list[str], output: Path, lock: IO[bytes]) -> Process:
    """Starts `python -m project`, or the program of one's own.

    Args:
        arguments: what stands after it.
        output: the file that what it prints is added to.
        lock: which it holds as long as it lives.
    """
    path = os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH")]))
    with open(output, "ab") as file:
        return subprocess.Popen(
            [sys.executable, *program(), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            env=os.environ | {"PYTHONPATH": path},
            pass_fds=[lock.fileno()],
            process_group=0,  # Ctrl-C is for the sweep, which stops its trials
        )


@dataclass
class Stop:
    """Whether a signal has asked to stop: then the exit status that says which."""

    status: int | None = None


@contextmanager
def stop_requests() -> Iterator[Stop]:
    """While inside, the first Ctrl-C, SIGTERM or warning asks to stop; the second Ctrl-C stops at once."""
    stop = Stop()
    before = signal.getsignal(signal.SIGINT)

    def handle(number: int, frame: FrameType | None) -> None:
        if stop.status is not None and number == signal.SIGINT:
            stop_at_once(before, frame)
        if stop.status is None:
            stop.status = INTERRUPT_STATUS if number == signal.SIGINT else SIGTERM_STATUS
            announce("stopping the trials; they are gone on with when the same command is given again")

    with handlers(dict.fromkeys((signal.SIGINT, signal.SIGTERM, *WARNINGS), handle)):
        yield stop


@dataclass
class _Running:
    turn: Turn
    process: Process
    pruned: bool = False


class Work:
    """The work of one process on a sweep.

    Args:
        sweep: which other processes may work on, too.
        arguments: what stands after `fit` in every trial.
        start: starts a trial.
        seconds: between two looks at the trials.
    """

    def __init__(
        self, sweep: Sweep, arguments: Sequence[str], start: Start = start_process, seconds: float = 0.5
    ) -> None:
        self.sweep, self.arguments = sweep, arguments
        self.start, self.seconds = start, seconds
        self._running: list[_Running] = []
        self._mistakes = 0

    def run(self, trials: int, jobs: int, stop: Stop) -> None:
        """Works until so many trials are finished in all, by whichever process, or until it is asked to stop.

        Args:
            trials: how many.
            jobs: trials of this process at a time.
            stop: looked at all the time.

        Raises:
            ConfigError: three trials in a row ended with a mistake that the user can mend.
        """
        waiting = False
        try:
            while stop.status is None and (self._running or self.sweep.finished() < trials):
                while len(self._running) < jobs and (turn := self.sweep.begin(trials)):
                    self._begin(turn)
                if not self._running and not waiting:
                    waiting = True
                    print("waiting for trials that another process has begun", flush=True)
                time.sleep(self.seconds)
                self._look()
        finally:
            self._give_back()

    def _begin(self, turn: Turn) -> None:
        for run in find_runs(self.sweep.folder, turn.folder):
            if run.checkpoints.is_dir():
                run.discard_if_empty()  # of a trial that was killed while it started
        more = ["--ckpt_path", "auto"] if turn.goes_on else []
        where = ["--trainer.default_root_dir", str(self.sweep.folder), "--name", turn.folder]
        options = [*as_arguments(turn.trial.params), *where, *more]
        output = self.sweep.folder / turn.folder / OUTPUT
        self._running.append(_Running(turn, self.start(["fit", *self.arguments, *options], output, turn.lock)))

    def _look(self) -> None:
        for running in list(self._running):
            status = running.process.poll()
            values = validations(self.sweep.run_of(running.turn.folder), self.sweep.monitor)
            if self.sweep.report(running.turn, values) and status is None and not running.pruned:
                running.pruned = True
                running.process.terminate()
            if status is not None:
                self._running.remove(running)
                said = self._end(running, status)
                self._mistakes = self._mistakes + 1 if status == 2 and not running.pruned else 0
                if self._mistakes == _MISTAKES:
                    raise ConfigError(f"{_MISTAKES} trials in a row: {said.partition('error: ')[2]}")

    def _end(self, running: _Running, status: int) -> str:
        """Tells the study, and says, what became of a trial."""
        turn, sweep = running.turn, self.sweep
        if status == 0:
            value = sweep.complete(turn)
            said = "left no best checkpoint" if value is None else f"{sweep.monitor} {value:.4f}"
        elif running.pruned:
            sweep.prune(turn)
            said = f"pruned after {turn.reported} validations"
        elif status in (INTERRUPT_STATUS, SIGTERM_STATUS, -signal.SIGTERM):
            sweep.give_back(turn)
            said = "interrupted"
        else:
            line = _last_line(sweep.folder / turn.folder / OUTPUT)
            sweep.fail(turn, line)
            said = f"failed with status {status}: {line}"
        print_lines(f"{turn.folder}: {said}  {describe(turn.trial.params)}")
        return said

    def _give_back(self) -> None:
        """Stops what still runs, waits for its checkpoint, and leaves it to whoever goes on."""
        for running in self._running:
            running.process.terminate()
        while self._running:
            for running in list(self._running):
                if (status := running.process.poll()) is not None:
                    self._running.remove(running)
                    self._end(running, status)
            time.sleep(self.seconds)


def describe(params: dict[str, object]) -> str:
    """Options and their values in a line."""
    return ", ".join(f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
                     for name, value in params.items())  # fmt: skip


def _last_line(path: Path) -> str:
    """The mistake that a trial's output ends with, or else its last line."""
    lines = [line for line in path.read_text("utf-8", "replace").splitlines() if line.strip()]
    mistakes = [line for line in lines if line.startswith("error: ")]
    return (mistakes or lines or ["it printed nothing"])[-1]
