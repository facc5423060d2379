"""What tests of scripts share: a script in this process, started as a user starts it."""

from __future__ import annotations

import runpy
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"
Outcome = tuple[int, str, str]
"""A script's status, and what it printed on either stream."""


@pytest.fixture
def script(tmp_path, monkeypatch, capsys) -> Callable[..., Outcome]:
    """Runs a script of this name in the test's folder: `script("report", "--ckpt_path", path)`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))

    def run(name: str, *options: object) -> Outcome:
        capsys.readouterr()
        path = str(SCRIPTS / f"{name}.py")
        monkeypatch.setattr(sys, "argv", [path, *map(str, options)])
        status = 0
        try:
            runpy.run_path(path, run_name="__main__")
        except SystemExit as stop:
            status = stop.code or 0
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return run
