"""Ctrl-C and a scheduler's warning as requests: finish the batch, write a checkpoint, stop."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGTERM_STATUS = 143
INTERRUPT_STATUS = 130


class _Interrupts:
    count = 0


@contextmanager
def graceful_interrupt() -> Iterator[_Interrupts]:
    """While inside, the first Ctrl-C and SIGUSR1 do what SIGTERM does, which Lightning looks at after every batch.

    A second Ctrl-C stops at once. SIGUSR1 warns that the time is nearly over, under SLURM too. Yields an object that
    counts Ctrl-C, from which the exit status follows.
    """
    interrupts = _Interrupts()
    if threading.current_thread() is not threading.main_thread():
        yield interrupts
        return

    def handle(number: int, frame: FrameType | None) -> None:
        interrupts.count += 1
        if interrupts.count > 1 or signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            raise KeyboardInterrupt
        print("\nstopping after this batch; press Ctrl-C again to stop at once", flush=True)
        signal.raise_signal(signal.SIGTERM)

    handlers = {signal.SIGINT: handle}
    if hasattr(signal, "SIGUSR1"):
        handlers[signal.SIGUSR1] = lambda number, frame: signal.raise_signal(signal.SIGTERM)
    previous = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield interrupts
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
