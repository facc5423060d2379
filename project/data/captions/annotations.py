"""Annotation files in JSON, whose every mistake has a place."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from project.errors import DataError
from project.files import open_regular
from project.yaml_files import load_json as parse_json

_KINDS = {str: "text", int: "a whole number", list: "a list", dict: "an object", type(None): "null", float: "a number",
          bool: "true or false"}  # fmt: skip


class Entry:
    """A JSON object of an annotation file that knows where it is.

    Args:
        where: the option, the file and the place in it.
        content: the object.
        separator: between its place and that of its fields.

    Raises:
        DataError: it is no object.
    """

    def __init__(self, where: str, content: Any, separator: str = ".") -> None:
        if not isinstance(content, dict):
            raise DataError(f"{where}: must be an object; it is {_kind(content)}")
        self.where = where
        self._content = content
        self._separator = separator

    def __contains__(self, name: str) -> bool:
        return self._content.get(name) is not None

    def get(self, name: str, *kinds: type, why: str) -> Any:
        """The field `name`, of one of `kinds`.

        Args:
            name: of the field.
            kinds: `str`, `int` or `list`.
            why: ends the message where it is missing: `every image needs ...`.

        Raises:
            DataError: it is missing, or something else.
        """
        value = self._content.get(name)
        if value is None:
            raise DataError(f"{self.place(name)}: missing; {why}")
        if not isinstance(value, kinds) or isinstance(value, bool):
            expected = " or ".join(_KINDS[kind] for kind in kinds)
            raise DataError(f"{self.place(name)}: must be {expected}; it is {_kind(value)}")
        return value

    def entries(self, name: str, why: str) -> Iterator[Entry]:
        """The objects in the list `name`."""
        for index, content in enumerate(self.get(name, list, why=why)):
            yield Entry(f"{self.place(name)}[{index}]", content)

    def texts(self, name: str) -> list[str]:
        """The list of texts `name`."""
        values = self.get(name, list, why="it is the list of words")
        for index, value in enumerate(values):
            if not isinstance(value, str):
                raise DataError(f"{self.place(name)}[{index}]: must be text; it is {_kind(value)}")
        return list(map(sys.intern, values))  # a million captions have some ten thousand words

    def place(self, name: str) -> str:
        """Where the field `name` is."""
        return f"{self.where}{self._separator}{name}"


def _kind(value: Any) -> str:
    text = json.dumps(value)
    return f"{_KINDS[type(value)]} ({text})" if len(text) <= 30 else _KINDS[type(value)]


def read_json(option: str, file: str) -> Entry:
    """The annotation file that an option names.

    Raises:
        DataError: it is not there, or no JSON object.
    """
    return Entry(*load_json(option, file), ": ")


def load_json(option: str, file: str) -> tuple[str, Any]:
    """Where a file is, for messages, and what is in it.

    Raises:
        DataError: it is not there, or no JSON.
    """
    where, text = _read(option, file)
    try:
        return where, parse_json(text)
    except ValueError as error:
        raise DataError(f"{where}: {error}; give the annotation file itself") from None


def load_json_lines(option: str, file: str) -> Iterator[Entry]:
    """The objects of a file with one per line.

    Raises:
        DataError: it is not there, or a line is no JSON object.
    """
    where, text = _read(option, file)
    for number, line in enumerate(text.split(b"\n"), start=1):
        if line.strip():
            try:
                content = parse_json(line)
            except ValueError as error:
                raise DataError(f"{where}: line {number}: {error}") from None
            yield Entry(f"{where}: line {number}", content, ": ")


def _read(option: str, file: str) -> tuple[str, bytes]:
    path = Path(os.path.expanduser(file))
    where = f"{option}: {path}"
    try:
        with open_regular(path) as opened:
            return where, opened.read()
    except FileNotFoundError:
        raise DataError(f"{where}: there is no such file") from None
    except OSError as error:
        raise DataError(f"{where}: cannot be read ({error.strerror})") from None


def check_distinct(paths: Iterable[Path], wheres: Iterable[str]) -> None:
    """No file may be listed twice: it would be trained on and tested.

    Args:
        paths: of images.
        wheres: their entries, for the message.

    Raises:
        DataError: one is.
    """
    seen: dict[Path, str] = {}
    for path, where in zip(paths, wheres, strict=True):
        if path in seen:
            raise DataError(f"{where}: {path} is {seen[path].rpartition(': ')[2]} too; list each image once")
        seen[path] = where
