"""Ctrl-C, a hangup and a scheduler's warning as requests: finish the batch, write a checkpoint, stop."""

from __future__ import annotations

import atexit
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

SIGTERM_STATUS = 143
INTERRUPT_STATUS = 130
# a closed terminal and a scheduler's warning, which mean what SIGTERM means
WARNINGS = tuple(getattr(signal, name) for name in ("SIGHUP", "SIGUSR1") if hasattr(signal, name))

Handler = Callable[[int, FrameType | None], Any]


class _Interrupts:
    count = 0


@contextmanager
def graceful_interrupt() -> Iterator[_Interrupts]:
    """While inside, the first Ctrl-C and `WARNINGS` do what SIGTERM does, which Lightning looks at after every batch.

    A second Ctrl-C stops at once. Yields an object that counts Ctrl-C, from which the exit status follows.
    """
    interrupts = _Interrupts()
    before = signal.getsignal(signal.SIGINT)

    def handle(number: int, frame: FrameType | None) -> None:
        interrupts.count += 1
        if interrupts.count > 1 or signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            stop_at_once(before, frame)
        announce("\nstopping after this batch; press Ctrl-C again to stop at once")
        signal.raise_signal(signal.SIGTERM)

    def forward(number: int, frame: FrameType | None) -> None:
        signal.raise_signal(signal.SIGTERM)

    with handlers({signal.SIGINT: handle, **dict.fromkeys(WARNINGS, forward)}):
        yield interrupts


@contextmanager
def handlers(chosen: Mapping[int, Handler]) -> Iterator[None]:
    """Signal handlers while inside; what is ignored, as SIGHUP is under `nohup`, stays ignored, except for Ctrl-C."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = {
        number: signal.signal(number, handler)
        for number, handler in chosen.items()
        if number == signal.SIGINT or signal.getsignal(number) is not signal.SIG_IGN
    }
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def announce(text: str) -> None:
    """Prints from a signal handler, which may have interrupted another print; then Python refuses."""
    with suppress(RuntimeError):
        print(text, flush=True)


def stop_at_once(before: Any, frame: FrameType | None) -> None:
    """The second Ctrl-C: what `before`, the handler of whoever called, does, which ends a program; a notebook goes on.

    Raises:
        KeyboardInterrupt: it did nothing.
    """
    if callable(before):
        before(signal.SIGINT, frame)
    raise KeyboardInterrupt


# ---- of a whole program


def end_at_interrupts() -> None:
    """From now on Ctrl-C ends this program with status 130, with no traceback and no child process left.

    An exception would be raised in whatever code is running: an import, a destructor, a library's callback or clean-up,
    some of which swallow it, print it, or end with a status of their own. A Python handler runs only between two
    instructions of the main thread, which may be waiting in C for another process. So a thread counts, too: it ends the
    program at the second Ctrl-C, and at the first while nothing inside `graceful_interrupt` takes it for a request.
    """
    signal.signal(signal.SIGINT, _end)
    # the first that is registered is the last to run: all that follows is taking down the interpreter
    atexit.register(signal.signal, signal.SIGINT, signal.SIG_IGN)
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_leave_to_parent)
    receiver, sender = os.pipe()
    os.set_blocking(sender, False)
    signal.set_wakeup_fd(sender, warn_on_full_buffer=False)
    threading.Thread(target=_count, args=(receiver,), daemon=True).start()


def _count(receiver: int) -> None:
    interrupts = 0
    while not interrupts or (interrupts == 1 and signal.getsignal(signal.SIGINT) is not _end):
        interrupts += os.read(receiver, 512).count(signal.SIGINT)
    _end()


def _leave_to_parent() -> None:
    """In a forked process, such as a loader's worker: a terminal sends it what its parent acts on."""
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGINT, *WARNINGS):
        if callable(signal.getsignal(number)):
            signal.signal(number, signal.SIG_IGN)


def _end(*_: object) -> None:
    try:
        for pid in _descendants(os.getpid()):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if os.isatty(2):
            os.write(2, b"\x1b[?25h\n")  # a progress bar hides the cursor
    finally:
        os._exit(INTERRUPT_STATUS)


def _descendants(pid: int) -> list[int]:
    """All processes that a process has started, directly or not, where the system lists them."""
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has just ended
            parent = path.read_bytes().rpartition(b")")[2].split()[1]
            children.setdefault(int(parent), []).append(int(path.parent.name))
    found = children.get(pid, [])[:]
    for each in found:  # which grows
        found += children.get(each, [])
    return found
