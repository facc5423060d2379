"""Text of strangers, such as names of files and classes, made safe for terminals, Markdown and spreadsheets."""

from __future__ import annotations

import csv
import io
import re
import sys
from collections.abc import Iterable, Sequence

# C0, DEL and C1 control a terminal; line and paragraph separators break lines; bidirectional overrides and isolates show a
# name in another order; surrogates, as in file names that are not UTF-8, cannot be written
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_MARKDOWN = str.maketrans(
    {mark: f"\\{mark}" for mark in "\\`*_{}[]()#!"} | {mark: f"&#{ord(mark)};" for mark in "&<>|~"}
)
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def printable(text: str) -> str:
    r"""One line without control characters: each becomes an escape such as `\x1b` or `\u202e`."""
    return _UNPRINTABLE.sub(lambda match: _escape(match[0]), text)


def print_lines(*lines: str, stderr: bool = False) -> None:
    """Prints each argument as one line, whatever names are in it; all output of the project goes this way."""
    stream = sys.stderr if stderr else sys.stdout
    encoding = getattr(stream, "encoding", None) or "utf-8"
    for line in lines:
        print(printable(line).encode(encoding, "backslashreplace").decode(encoding), file=stream, flush=True)


def markdown(text: str) -> str:
    """Plain text within a paragraph or a table's cell of Markdown: neither Markdown nor HTML in it has an effect."""
    return printable(text).translate(_MARKDOWN)


def markdown_code(text: str) -> str:
    """A code span that holds the text, also where there are backticks in it."""
    fence = "`" * (_longest_backticks(text) + 1)
    space = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{space}{printable(text)}{space}{fence}"


def markdown_block(text: str, language: str) -> str:
    """A fenced block of code, also where the text has fences; it may have many lines."""
    fence = "`" * max(_longest_backticks(text) + 1, 3)
    return f"{fence}{language}\n{text}{fence}"


def csv_table(rows: Iterable[Sequence[object]]) -> str:
    """Rows as CSV: a text is one line, and has a leading apostrophe where a spreadsheet would take it for a formula."""
    table = io.StringIO()
    csv.writer(table, lineterminator="\n").writerows([_cell(each) for each in row] for row in rows)
    return table.getvalue()


def _cell(value: object) -> object:
    if not isinstance(value, str):
        return value
    return f"'{printable(value)}" if value.startswith(_FORMULA) else printable(value)


def _escape(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"


def _longest_backticks(text: str) -> int:
    return max(map(len, re.findall("`+", text)), default=0)
