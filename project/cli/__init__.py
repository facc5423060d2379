"""The command line: `python -m project {fit,validate,test,predict}`, or `main([...])` from Python."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from project import __version__
from project.errors import one_line_for_mistakes
from project.runs.places import provide_places
from project.runs.signals import end_at_interrupts
from project.runs.streams import keep_streams


class Result(NamedTuple):
    """The result of a command.

    Attributes:
        run: the directory that was written to; None of a `fast_dev_run`, and in other processes than the first.
        metrics: the latest value of each metric, such as `val/accuracy` after `fit` and `test/accuracy` after `test`.
        predictions: of `predict`, the file with its rows.
    """

    run: Path | None
    metrics: dict[str, float]
    predictions: Path | None = None


def start_program() -> None:
    """Prepares streams, signals and directories of a program; to be called before imports that take seconds."""
    keep_streams()
    end_at_interrupts()
    with one_line_for_mistakes():
        provide_places()


def main(args: Sequence[str] | None = None) -> Result | None:
    """Runs one command; returns when it has succeeded.

    Args:
        args: what stands after `python -m project`; by default the program's own arguments.

    Returns:
        The run's directory and metrics; None where `args` are the program's, whose status the value would become.

    Raises:
        SystemExit: 2 after one line about what the user can mend; 143 and 130 after SIGTERM and Ctrl-C, with a
            checkpoint written. Any other exception is a fault, and keeps its traceback.
    """
    if args is None:
        start_program()
        main(sys.argv[1:])
        return None
    if list(args) == ["--version"]:  # without the seconds that importing the rest takes
        print(f"project {__version__}")
        return None
    with one_line_for_mistakes():
        from project.cli.run import run_command

        return run_command(list(args))
