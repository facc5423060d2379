"""What all tests share: the real command line in this process, and no writing outside the test's own folder."""

from __future__ import annotations

import signal

import pytest
import torch
from project.cli import main


@pytest.fixture(autouse=True)
def _isolated(tmp_path, monkeypatch):
    """Caches go to the test's folder, and signals are as they were."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    torch.set_num_threads(1)  # a second thread gains nothing on images this small, and much waiting on a busy machine
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture
def run(tmp_path):
    """Runs a command of `python -m project` with its runs below the test's folder; returns the exit status."""

    def run_command(*args: object) -> int:
        try:
            main([*map(str, args), "--progress", "none"])
        except SystemExit as stop:
            return stop.code or 0
        return 0

    return run_command


@pytest.fixture
def fails(run, capsys):
    """Runs a command that must end with status 2 and one line; returns the line."""

    def run_and_read(*args: object) -> str:
        capsys.readouterr()
        assert run(*args) == 2
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err + captured.out
        lines = [line for line in captured.err.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1
        return lines[0]

    return run_and_read
