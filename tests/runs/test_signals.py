"""The first Ctrl-C asks, the second stops."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from project.runs.signals import graceful_interrupt

ROOT = Path(__file__).parents[2]


def ctrl_c() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def test_the_first_ctrl_c_is_a_sigterm_and_the_second_stops(capsys):
    asked = []
    signal.signal(signal.SIGTERM, lambda number, frame: asked.append(number))
    with graceful_interrupt() as interrupts:
        assert interrupts.count == 0
        ctrl_c()
        assert asked == [signal.SIGTERM]
        assert interrupts.count == 1
        assert "Ctrl-C again" in capsys.readouterr().out
        with pytest.raises(KeyboardInterrupt):
            ctrl_c()
    assert asked == [signal.SIGTERM]


def test_before_anybody_listens_to_sigterm_the_first_one_stops():
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with graceful_interrupt(), pytest.raises(KeyboardInterrupt):
        ctrl_c()


def test_a_sigterm_is_not_counted_as_an_interrupt():
    signal.signal(signal.SIGTERM, lambda number, frame: None)
    with graceful_interrupt() as interrupts:
        os.kill(os.getpid(), signal.SIGTERM)
        assert interrupts.count == 0


def test_a_schedulers_warning_is_a_sigterm_and_no_interrupt():
    asked, before = [], signal.getsignal(signal.SIGUSR1)
    signal.signal(signal.SIGTERM, lambda number, frame: asked.append(number))
    with graceful_interrupt() as interrupts:
        os.kill(os.getpid(), signal.SIGUSR1)
        assert asked == [signal.SIGTERM]
        assert interrupts.count == 0
    assert signal.getsignal(signal.SIGUSR1) is before


def test_counts_start_anew_and_the_handler_comes_back():
    signal.signal(signal.SIGTERM, lambda number, frame: None)
    before = signal.getsignal(signal.SIGINT)
    with graceful_interrupt():
        ctrl_c()
    assert signal.getsignal(signal.SIGINT) is before
    with graceful_interrupt() as interrupts:
        assert interrupts.count == 0
    with pytest.raises(ValueError, match="inside"), graceful_interrupt():
        raise ValueError("inside")
    assert signal.getsignal(signal.SIGINT) is before


def test_in_another_thread_signals_are_left_alone():
    before, seen = signal.getsignal(signal.SIGINT), []

    def work() -> None:
        with graceful_interrupt() as interrupts:
            seen.append((signal.getsignal(signal.SIGINT), interrupts.count))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [(before, 0)]


def test_hangup_is_a_sigterm_unless_it_is_ignored():
    asked, before = [], signal.getsignal(signal.SIGHUP)
    signal.signal(signal.SIGTERM, lambda number, frame: asked.append(number))
    with graceful_interrupt() as interrupts:
        os.kill(os.getpid(), signal.SIGHUP)
        assert asked == [signal.SIGTERM]
        assert interrupts.count == 0
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as `nohup` does
    try:
        with graceful_interrupt():
            os.kill(os.getpid(), signal.SIGHUP)
        assert asked == [signal.SIGTERM]
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_first_interrupt_within_a_print_raises_nothing(monkeypatch):
    """Python refuses a second print from a signal handler, with a `RuntimeError`."""
    asked = []
    signal.signal(signal.SIGTERM, lambda number, frame: asked.append(number))

    class Busy:
        def write(self, text: str) -> int:
            raise RuntimeError("reentrant call inside <_io.BufferedWriter name=1>")

    monkeypatch.setattr(sys, "stdout", Busy())
    with graceful_interrupt():
        ctrl_c()
    assert asked == [signal.SIGTERM]


# ---- whole programs


@pytest.fixture
def program() -> Iterator[Callable[[str], tuple[subprocess.Popen[str], str]]]:
    """Starts a Python that ends at interrupts, and runs code as far as its `print`; gives it, and what it printed."""
    started = []

    def begin(code: str) -> tuple[subprocess.Popen[str], str]:
        started.append(_start(code))
        return started[-1], started[-1].stdout.readline().strip()

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def _start(code: str) -> subprocess.Popen[str]:
    begin = "import os, signal, sys, time\nfrom project.runs.signals import *\nend_at_interrupts()\n"
    return subprocess.Popen(
        [sys.executable, "-c", begin + code],
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


SWALLOWED = {
    "a loop": "print('ready')\nwhile True: pass",
    "a wait": "print('ready')\ntime.sleep(60)",
    "a handler that catches all": "print('ready')\ntry: time.sleep(60)\nexcept BaseException: time.sleep(60)",
    "a destructor": """
class Slow:
    def __del__(self): print('ready'); time.sleep(60)
Slow()
time.sleep(60)""",
    "a callback of C": """
import ctypes
compare = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)(lambda a, b: print('ready') or time.sleep(60) or 0)
ctypes.CDLL(None).qsort((ctypes.c_int * 2)(2, 1), 2, 4, compare)
time.sleep(60)""",
    "a function at exit": "import atexit\natexit.register(lambda: print('ready') or time.sleep(60))",
    "a thread that is waited for": "import threading\nthreading.Thread(target=time.sleep, args=(60,)).start()\nprint('ready')",
}


@pytest.mark.parametrize("code", SWALLOWED.values(), ids=SWALLOWED)
def test_program_that_is_interrupted_anywhere_exits_with_130_and_prints_nothing(program, code):
    process, line = program(code)
    assert line == "ready"
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=30) == ("", None)
    assert process.returncode == 130


def test_second_interrupt_of_a_program_that_waits_in_c_exits_with_130(program):
    """As for another process that has died: no Python handler runs, not even the first one's."""
    process, _ = program("""
import ctypes
lock = ctypes.create_string_buffer(128)
ctypes.CDLL(None).pthread_mutex_lock(lock)
with graceful_interrupt():
    print('ready')
    ctypes.CDLL(None).pthread_mutex_lock(lock)""")
    time.sleep(0.2)  # it is waiting then; before, it ends all the same
    for _ in range(2):
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        time.sleep(0.2)  # two that come at once are one
    process.communicate(timeout=30)
    assert process.returncode == 130


def test_program_that_ends_leaves_no_process(program):
    """A forked one, one that it has started, and one that this has started, each in a group of its own."""
    process, line = program("""
import subprocess
started = subprocess.Popen(["sh", "-c", "sleep 60 & echo $!; wait"], process_group=0, stdout=subprocess.PIPE)
if not (forked := os.fork()):
    os.setpgid(0, 0)
    time.sleep(60)
print(forked, started.pid, int(started.stdout.readline()))
time.sleep(60)""")
    children = [int(pid) for pid in line.split()]
    assert all(map(alive, children))
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)  # until none of them holds the pipe
    assert process.returncode == 130
    deadline = time.monotonic() + 30
    while any(map(alive, children)):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_forked_process_leaves_signals_to_its_parent(program):
    """A terminal interrupts all; nor does the parent take what it hears for an interrupt of its own."""
    process, line = program("""
signal.signal(signal.SIGTERM, lambda *_: None)
with graceful_interrupt() as interrupts:
    if not (child := os.fork()):
        for number in (signal.SIGINT, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
            os.kill(os.getpid(), number)
        signal.signal(signal.SIGINT, lambda *_: None)  # one of its own
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.1)
        os.kill(os.getpid(), signal.SIGINT)
        os._exit(7)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), interrupts.count)""")
    assert line == "7 0"
    process.communicate(timeout=30)
    assert process.returncode == 0


def test_interrupt_after_everything_has_ended_changes_no_status(program):
    process, _ = program("""
class Last:
    def __del__(self, kill=os.kill, pid=os.getpid()): kill(pid, 2)
sys.last = Last()  # lives until the interpreter is taken down
print('ready')
sys.exit(7)""")
    assert process.communicate(timeout=30) == ("", None)
    assert process.returncode == 7
