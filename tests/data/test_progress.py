"""Progress of long work: a bar on a terminal, a line now and then elsewhere, and the work itself unchanged."""

from __future__ import annotations

import os
import re
import sys
import time
from contextlib import suppress

import pytest

from project.data.progress import track


class Clock:
    """Time that passes only with the work."""

    def __init__(self, monkeypatch):
        self.now = 0.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)

    def work(self, items, seconds):
        for item in items:
            self.now += seconds
            yield item


def test_the_items_come_one_by_one(capsys):
    taken = []
    source = (taken.append(i) or i for i in range(3))
    tracked = track(source, "counting", 3)
    assert next(tracked) == 0
    assert taken == [0]
    assert list(tracked) == [1, 2]
    assert capsys.readouterr().err == ""  # it was quick


def test_in_a_log_a_line_after_ten_seconds_and_then_every_minute(monkeypatch, capsys):
    clock = Clock(monkeypatch)
    assert len(list(track(clock.work(range(1500), 0.125), "decoding", 1500))) == 1500
    assert capsys.readouterr().err.splitlines() == [f"decoding: {n:,} of 1,500" for n in (80, 560, 1040)]


def test_items_may_count_for_several(monkeypatch, capsys):
    clock = Clock(monkeypatch)
    list(track(clock.work([[0] * 8, [0] * 8, [0] * 4], 20), "captions", 20, len))
    assert capsys.readouterr().err.splitlines()[0] == "captions: 8 of 20"


def test_on_a_terminal_a_bar_that_vanishes(monkeypatch):
    reading, writing = os.openpty()
    os.set_blocking(reading, False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "100")
    with open(writing, "w") as file:
        monkeypatch.setattr(sys, "stderr", file)
        for _ in track(range(4), "rendering", 4):
            time.sleep(0.12)
        seen = b""
        with suppress(BlockingIOError):  # a terminal hands over four thousand bytes at a time
            while True:
                seen += os.read(reading, 100_000)
        seen = seen.decode()
        os.close(reading)
    shown = re.sub(r"\x1b\[[\d;?]*\w", "", seen)
    assert "rendering" in shown
    assert "25%" in shown
    assert seen.endswith("\x1b[2K")  # the line is cleared


def test_an_error_of_the_work_comes_through(capsys):
    def work():
        yield 1
        raise KeyError("second")

    with pytest.raises(KeyError):
        list(track(work(), "w", 2))
