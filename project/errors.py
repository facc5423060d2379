"""Mistakes a user can mend: each says what is wrong, where, and how to mend it, in one line.

The command line prints the line and exits with status 2; a program catches `UserError`. What cannot happen is an
`assert`, and what is not the user's doing keeps its traceback.
"""

from __future__ import annotations

import difflib
import io
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from project.text import print_lines, printable

_LONGEST = 2000  # characters of a line that anyone reads


class UserError(Exception):
    """Something the user gave is wrong; `str(error)` is the one line to show.

    Takes the message alone, so that it survives the trip from a loader's worker process, which rebuilds an exception
    from its class and one string.
    """


class ConfigError(UserError):
    """An option or a configuration file asks for what does not exist or cannot go together."""


class DataError(UserError):
    """A data set, a folder or a file cannot be used as it is."""


class CheckpointError(UserError):
    """A checkpoint is absent, damaged, foreign, unsafe, or not the one that was asked for."""


class RunError(UserError):
    """A run directory cannot be written or found."""


class NonFiniteError(FloatingPointError):
    """Training came to a loss or a gradient that is infinite or no number; `str(error)` says where and what is kept."""


@contextmanager
def one_line_for_mistakes() -> Iterator[None]:
    """Inside it a `UserError` ends the program with one line and status 2, and a `NonFiniteError` with one and status 1.

    Any other exception keeps its traceback. From now on characters that the terminal's encoding lacks are printed as
    escapes.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a notebook's is none, and takes all of them
            stream.reconfigure(errors="backslashreplace")
    try:
        yield
    except (UserError, NonFiniteError) as error:
        print_lines(f"error: {one_line(error)}", stderr=True)
        raise SystemExit(2 if isinstance(error, UserError) else 1) from None


@contextmanager
def errors_of(option: str) -> Iterator[None]:
    """Inside it what a library finds wrong with values is a `ConfigError` of the option that they come from."""
    try:
        yield
    except (ValueError, TypeError, ZeroDivisionError) as error:
        raise ConfigError(f"{option}: {error}") from None


def one_line(error: Exception) -> str:
    """What is shown of an error; names in a damaged file can be as long as pages, and then the middle is left out."""
    line = printable(" ".join(str(error).split()))
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST // 2]} … {line[-_LONGEST // 2 :]}"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The end of a sentence about an unknown `name`: the nearest known one, or all of them when there are few."""
    known = sorted(set(known))
    nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    if nearest:
        return f"did you mean '{nearest[0]}'?"
    if len(known) <= 12:
        return f"there is {', '.join(known) or 'none'}."
    return f"there are {len(known)}, among them {', '.join(known[:6])}."
