"""Ctrl-C as a request: finish the batch, write a checkpoint, stop. A second one stops at once."""

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
    """While inside, the first Ctrl-C does what SIGTERM does, which Lightning looks at after every batch.

    Yields an object that counts them, from which the exit status follows.
    """
    interrupts = _Interrupts()
    if threading.current_thread() is not threading.main_thread():
        yield interrupts
        return

    def handle(number: int, frame: FrameType | None) -> None:
        interrupts.count += 1
        if interrupts.count > 1 or signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            raise KeyboardInterrupt
        print("\nstopping after this batch, with a checkpoint; press Ctrl-C again to stop at once", flush=True)
        signal.raise_signal(signal.SIGTERM)

    previous = signal.signal(signal.SIGINT, handle)
    try:
        yield interrupts
    finally:
        signal.signal(signal.SIGINT, previous)
