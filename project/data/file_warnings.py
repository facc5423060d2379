"""Warnings of Pillow with the name of the file that they are about, each once per process."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from threading import Lock, local
from typing import Any

from project.text import print_lines


class _Catcher:
    """State that all reading threads share.

    `warnings.catch_warnings` concerns the whole process: the first thread that reads enters it, and the last one leaves.
    """

    def __init__(self) -> None:
        self.lock = Lock()
        self.readers = 0
        self.thread = local()

    def enter(self, path: Path) -> None:
        with self.lock:
            self.readers += 1
            if self.readers == 1:
                self.others = warnings.showwarning
                self.caught = warnings.catch_warnings()
                self.caught.__enter__()
                warnings.simplefilter("always")
                warnings.showwarning = self.show
        self.thread.path = path

    def leave(self) -> None:
        self.thread.path = None
        with self.lock:
            self.readers -= 1
            if not self.readers:
                self.caught.__exit__(None, None, None)

    def show(self, message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
        path = getattr(self.thread, "path", None)
        if path is None:  # of a thread that does something else
            self.others(message, category, *where, **more)
        else:
            _say(f"data: {path}: {message}")


_catcher = _Catcher()
if hasattr(os, "register_at_fork"):  # a thread may hold the lock when a worker is forked
    os.register_at_fork(after_in_child=lambda: globals().update(_catcher=_Catcher()))


@contextmanager
def named_warnings(path: Path) -> Iterator[None]:
    """Inside it, warnings in this thread become lines that begin with `path`."""
    _catcher.enter(path)
    try:
        yield
    finally:
        _catcher.leave()


@cache
def _say(line: str) -> None:
    print_lines(line)
