"""One process at a time holds a lock, and none does once it was killed."""

from __future__ import annotations

import errno
import fcntl
import math
import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from project.errors import RunError
from project.runs.locks import Lock

BUSY = "x: is held by {}; wait"


def in_child(what: Callable[[], None]) -> int:
    """The id of a forked process that does something, and ends with status 0 where that raises nothing."""
    if child := os.fork():
        return child
    status = 1
    try:
        what()
        status = 0
    finally:
        os._exit(status)


def status_of(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_lock_held_by_another_process_says_by_which(tmp_path):
    ready, done = os.pipe(), os.pipe()

    def hold() -> None:
        with Lock(tmp_path / ".lock", BUSY):
            os.write(ready[1], b"x")
            os.read(done[0], 1)

    child = in_child(hold)
    os.read(ready[0], 1)
    with pytest.raises(RunError) as error:
        Lock(tmp_path / ".lock", BUSY, patience=0)
    assert str(error.value) == f"x: is held by process {child} on {socket.gethostname()}; wait"
    os.write(done[1], b"x")
    assert status_of(child) == 0
    with Lock(tmp_path / ".lock", BUSY, patience=0):
        assert (tmp_path / ".lock").read_text() == f"process {os.getpid()} on {socket.gethostname()}\n"
    assert os.listdir(tmp_path) == []


def test_lock_of_a_killed_process_is_free_though_its_fork_lives(tmp_path):
    """As a loader's worker does for some seconds."""
    ready, done = os.pipe(), os.pipe()

    def hold_and_fork() -> None:
        Lock(tmp_path / ".lock", BUSY)
        if os.fork() == 0:
            os.write(ready[1], b"x")
            os.read(done[0], 1)
            os._exit(0)
        signal.pause()

    child = in_child(hold_and_fork)
    os.read(ready[0], 1)
    os.kill(child, signal.SIGKILL)
    status_of(child)
    Lock(tmp_path / ".lock", BUSY, patience=0).release()
    os.write(done[1], b"x")
    assert os.listdir(tmp_path) == []


def test_lock_waits_as_long_as_it_may_and_says_so(tmp_path, capsys, monkeypatch):
    first = Lock(tmp_path / ".lock", BUSY)
    monkeypatch.setattr("project.runs.locks.time.sleep", lambda seconds: first.release())
    Lock(tmp_path / ".lock", BUSY, patience=math.inf).release()
    assert capsys.readouterr().out == f"{tmp_path}: waiting for process {os.getpid()} on {socket.gethostname()}\n"


@pytest.mark.parametrize("content", [b"", b"\x1b[31m\xff", b"process x on y"])
def test_lock_file_of_a_stranger_is_not_quoted(tmp_path, content):
    with Lock(tmp_path / ".lock", BUSY):
        (tmp_path / ".lock").write_bytes(content)
        with pytest.raises(RunError, match=r"^x: is held by another process; wait$"):
            Lock(tmp_path / ".lock", BUSY, patience=0)


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: os.symlink(path.parent / "precious", path)])
def test_lock_in_whose_place_is_no_file_sets_that_aside(tmp_path, make):
    (tmp_path / "precious").write_text("precious")
    make(tmp_path / ".lock")
    Lock(tmp_path / ".lock", BUSY).release()
    assert sorted(os.listdir(tmp_path)) == [".lock.damaged_1", "precious"]
    assert (tmp_path / "precious").read_text() == "precious"


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOTSUP])
def test_lock_where_the_file_system_has_none_is_done_without(tmp_path, monkeypatch, number):
    def unsupported(descriptor: int, operation: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", unsupported)
    with Lock(tmp_path / ".lock", BUSY), Lock(tmp_path / ".lock", BUSY, patience=0):
        pass
    assert os.listdir(tmp_path) == []


def test_lock_released_leaves_the_file_of_another(tmp_path):
    """Its directory was renamed, and another process has made one of its name."""
    lock = Lock(tmp_path / ".lock", BUSY)
    Path(tmp_path / ".lock").rename(tmp_path / "moved")
    other = Lock(tmp_path / ".lock", BUSY, patience=0)
    lock.release()
    assert sorted(os.listdir(tmp_path)) == [".lock", "moved"]
    with pytest.raises(RunError, match="held"):
        Lock(tmp_path / ".lock", BUSY, patience=0)
    other.release()
