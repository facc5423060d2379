"""The first Ctrl-C asks, the second stops."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from project.runs.signals import graceful_interrupt


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
