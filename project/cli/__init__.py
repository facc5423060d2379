"""The command line: `python -m project {fit,validate,test,predict}`, or `main([...])` from Python."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from project import __version__
from project.errors import one_line_for_mistakes
from project.runs.places import provide_places
from project.runs.signals import end_at_interrupts
from project.runs.streams import keep_streams


def start_program() -> None:
    """Prepares streams, signals and directories of a program; to be called before imports that take seconds."""
    keep_streams()
    end_at_interrupts()
    with one_line_for_mistakes():
        provide_places()


def main(args: Sequence[str] | None = None) -> None:
    """Runs one command; returns when it has succeeded.

    Args:
        args: what stands after `python -m project`; by default the program's own arguments.

    Raises:
        SystemExit: 2 after one line about what the user can mend; 143 and 130 after SIGTERM and Ctrl-C, with a
            checkpoint written. Any other exception is a fault, and keeps its traceback.
    """
    if args is None:
        start_program()
    args = list(sys.argv[1:] if args is None else args)
    if args == ["--version"]:  # without the seconds that importing the rest takes
        print(f"project {__version__}")
        return
    with one_line_for_mistakes():
        from project.cli.run import run_command

        run_command(args)
