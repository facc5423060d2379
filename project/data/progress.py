"""Progress of work that people wait for: a bar on a terminal, a line now and then in a log file."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import Progress

from project.text import print_lines

Item = TypeVar("Item")
_FIRST_LINE, _EVERY = 10.0, 60.0  # seconds


def track(
    items: Iterable[Item], what: str, total: int, count: Callable[[Item], int] = lambda item: 1
) -> Iterator[Item]:
    """The same items, counted on stderr as they are taken.

    Args:
        items: the work, done as it is iterated over.
        what: what is done, such as "decoding train images".
        total: how much there is of it.
        count: how much an item is of the total.
    """
    if sys.stderr.isatty():
        with Progress(console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task(what, total=total)
            for item in items:
                yield item
                bar.advance(task, count(item))
        return
    done, due = 0, time.monotonic() + _FIRST_LINE
    for item in items:
        yield item
        done += count(item)
        if done < total and time.monotonic() >= due:
            print_lines(f"{what}: {done:,} of {total:,}", stderr=True)
            due += _EVERY
