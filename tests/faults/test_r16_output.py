"""R16: output that cannot be written is dropped, and the run continues; a closed terminal stops it as SIGTERM does."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from tests.faults.commands import PATIENCE, state
from tests.faults.outcomes import assert_same_run, steps_of
from tests.forks import fork, run_here

PROMISE = "R16"


@pytest.fixture
def fit_into(wholes, tmp_path) -> Callable[..., int]:
    """The status of a fit with its output in `output`: (output, where it pauses, what is done there, is nohup, more options).

    Its process is the first of a session, so a terminal that it opens is the one that hangs it up.
    """

    def run(
        output: Path,
        pause_at: str = "",
        harm: Callable[[], object] = bool,
        is_nohup: bool = False,
        more: Iterable[str] = (),
    ) -> int:
        options = [*wholes.options("Classifier", tmp_path / "runs"), "--progress", "lines", *more]
        process = fork(_run, options, output, tmp_path, pause_at, is_nohup)
        if pause_at:
            while state(process.pid) not in ("T", "Z"):
                process.join(0.002)
            harm()
            os.kill(process.pid, signal.SIGCONT)
        process.join(PATIENCE)
        process.kill()  # where it hangs
        return process.exitcode

    return run


def _run(options: list[str], output: Path, folder: Path, pause_at: str, is_nohup: bool) -> None:
    os.setsid()
    os.environ["PAUSE_AT"] = pause_at
    if is_nohup:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    if output.is_char_device():
        os.open(output, os.O_RDWR)  # a terminal that is opened to be written alone hangs nobody up
    run_here(options, output, folder)


def test_pipe_whose_reader_has_left(fit_into, wholes, directory, tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    lines: list[str] = []

    def head() -> None:
        with open(pipe) as reader:
            lines.append(reader.readline())

    reader = threading.Thread(target=head)
    reader.start()
    assert fit_into(pipe) == 0
    reader.join()
    assert lines[0].startswith("data: ImageFolder")
    assert_same_run(directory, wholes.run("Classifier"))


def test_full_disk(fit_into, wholes, directory):
    assert fit_into(Path("/dev/full")) == 0
    assert_same_run(directory, wholes.run("Classifier"))


@pytest.mark.parametrize("is_nohup", [False, True], ids=["", "nohup"])
def test_terminal_that_is_closed(fit_into, wholes, directory, is_nohup):
    terminal, end = os.openpty()
    name = os.ttyname(end)
    os.close(end)
    status = fit_into(Path(name), "update 9", lambda: os.close(terminal), is_nohup)
    assert status == (0 if is_nohup else 143)
    if not is_nohup:
        assert steps_of(directory) == 10
        assert fit_into(Path(os.devnull), more=("--ckpt_path", "auto")) == 0
    assert_same_run(directory, wholes.run("Classifier"))


def test_streams_that_are_closed(fit, wholes, directory):
    command = fit("Classifier", wrapper=("sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh"))
    assert command.wait() == 0
    assert command.output == ""
    assert_same_run(directory, wholes.run("Classifier"))
