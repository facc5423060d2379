"""Commands as processes of their own: `python -m project`, or forked from a process that has imported it already.

See `tests.forks`.
"""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.forks import ROOT, fork, printed, run_here

PATIENCE = 120  # seconds that anything may take on a busy machine
SOON = 60  # seconds until a run has ended of which a process has died


class Command:
    """A command that has been started.

    Args:
        args: what stands after `python -m project`.
        folder: where its output is kept, and where it runs.
        environment: added to this process's.
        imports: whether it is a new Python that imports everything; otherwise it is forked.
        dies_of_limits: whether the kernel kills it when a file outgrows its limit, in place of telling it so.
        wrapper: a command to start the Python in.
    """

    def __init__(
        self,
        args: list[str],
        folder: Path,
        environment: Mapping[str, str] = {},
        imports: bool = False,
        dies_of_limits: bool = False,
        wrapper: tuple[str, ...] = (),
    ) -> None:
        self.log = folder / f"output-{time.monotonic_ns()}.txt"
        told = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "PYTHONFAULTHANDLER": "1"}
        environment = {**os.environ, **told, **environment}
        self._child = None
        if imports or wrapper:
            with open(self.log, "wb") as output:
                self._child = subprocess.Popen(
                    [*wrapper, sys.executable, "-m", "project", *args],
                    cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                    start_new_session=True,
                )  # fmt: skip
            self.pid = self._child.pid
        else:
            self._fork = fork(_run, args, self.log, folder, environment, dies_of_limits)
            self.pid = self._fork.pid

    @property
    def output(self) -> str:
        """What it has printed so far."""
        return printed(self.log)

    def status(self) -> int | None:
        """Its exit status, minus the number of the signal that killed it, or `None` while it runs."""
        return self._child.poll() if self._child else self._fork.exitcode

    def wait(self, seconds: float = PATIENCE) -> int:
        """Its exit status, when it has one."""
        self._until(lambda: self.status() is not None, seconds, "end")
        return self.status()

    def wait_for_all(self, seconds: float = SOON) -> int:
        """Its exit status, when its other processes have ended, too, which may need a moment to notice."""
        status = self.wait(seconds)
        self._until(lambda: not self.processes(), seconds, "end with all its processes")
        return status

    def wait_for(self, what: Callable[[], object], seconds: float = PATIENCE) -> None:
        """Until something has happened, which must be while it runs."""
        self._until(lambda: what() or self.status() is not None, seconds, "get there")
        assert self.status() is None, f"ended with {self.status()} before it got there:\n{self.output}"

    def wait_for_pause(self, pid: int | None = None) -> None:
        """Until it, or one of its processes, has stopped at a place of `PauseAt`."""
        self.wait_for(lambda: state(pid or self.pid) == "T")

    def send(self, number: int) -> None:
        """A signal, and leave to go on where it pauses."""
        os.kill(self.pid, number)
        self.go_on()

    def go_on(self) -> None:
        """Ends a pause."""
        os.kill(self.pid, signal.SIGCONT)

    def kill(self) -> None:
        """SIGKILL to all its processes."""
        os.killpg(self.pid, signal.SIGKILL)
        self.wait()

    def limit_files(self, size: int) -> None:
        """From now on no file of it can grow beyond `size` bytes; -1 lifts the limit."""
        resource.prlimit(self.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    def processes(self) -> list[int]:
        """The ids of all its processes that live, its own included."""
        pids = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
        return [pid for pid in pids if session(pid) == self.pid and state(pid) not in (None, "Z", "X")]

    def close(self) -> None:
        """Leaves nothing running."""
        for pid in self.processes():
            os.kill(pid, signal.SIGKILL)
        self.wait()

    def _until(self, done: Callable[[], object], seconds: float, what: str) -> None:
        deadline = time.monotonic() + seconds
        while not done():
            if time.monotonic() > deadline:
                self._show_stacks()
                pytest.fail(f"did not {what} within {seconds} s:\n{self.output}")
            time.sleep(0.002)

    def _show_stacks(self) -> None:
        """Ends all its processes, each of which tells where it was: in the output, as `faulthandler` does."""
        states = {pid: state(pid) for pid in self.processes()}
        print("processes and their states:", states)
        for pid in states:
            os.kill(pid, signal.SIGSTOP)
        for pid in states:  # one after another, or they would write into each other's lines
            os.kill(pid, signal.SIGABRT)
            os.kill(pid, signal.SIGCONT)
            time.sleep(0.5)


def _run(args: list[str], log: Path, folder: Path, environment: dict[str, str], dies_of_limits: bool) -> None:
    os.setsid()
    os.environ.clear()
    os.environ.update(environment)
    if dies_of_limits:
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    run_here(args, log, folder)


def state(pid: int) -> str | None:
    """The kernel's letter for what a process does: T for stopped, Z for dead."""
    return _stat(pid, 0)


def session(pid: int) -> int | None:
    """The first process of the session that a process belongs to."""
    found = _stat(pid, 3)
    return int(found) if found else None


def _stat(pid: int, field: int) -> str | None:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[field]
    except (FileNotFoundError, ProcessLookupError):
        return None
