"""Commands forked from a process that has imported the project: importing takes seven seconds, a fork a hundredth of one.

The forking is multiprocessing's fork server, of which a process has one, with one list of what it has imported.
"""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import sys
from collections.abc import Callable
from multiprocessing import forkserver
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["project.cli.run", "tests.faults.places", "tests.system.ranks", "pytest"])


def fork(target: Callable[..., None], *args: Any) -> ForkServerProcess:
    """Starts a process that calls `target`; one that imports nothing and has no threads yet."""
    with pytest.MonkeyPatch.context() as patch:  # of the fork server, where it starts now
        patch.setenv("PYTHONPATH", str(ROOT))
        patch.setenv("OMP_NUM_THREADS", "1")
        forkserver.ensure_running()
    process = _context.Process(target=target, args=args)
    process.start()
    return process


def printed(log: Path) -> str:
    """What a program has printed, without the long line that `faulthandler` ends a stack with."""
    lines = log.read_text().splitlines(keepends=True) if log.exists() else []
    return "".join(line for line in lines if not line.startswith("Extension modules: "))


def run_here(args: list[str], log: Path, folder: Path) -> None:
    """Is the program, in a forked process, as if it had started by itself in `folder` with its output in `log`."""
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.chdir(folder)
    faulthandler.enable()  # a test that gives up on it asks for its stack
    multiprocessing.set_start_method("fork", force=True)  # of loader workers, as in a process that starts by itself
    import torch

    from project.cli import main

    torch.set_num_threads(1)
    sys.argv = ["project", *args]
    main()
