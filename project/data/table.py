"""Tables that a user writes: rows of a CSV or TSV file by the names of their columns, and where each row is."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from io import TextIOWrapper
from pathlib import Path
from typing import Literal

from project.data.samples import Split
from project.errors import ConfigError, DataError, did_you_mean
from project.files import open_regular

SPLITS: tuple[Split, ...] = ("train", "val", "test")
"""Values of a column `split`."""
_DELIMITERS = {".csv": ",", ".tsv": "\t"}
_LINE_BREAK = re.compile("\r\n|\r|\n")


def delimiter_of(option: str, path: Path) -> str:
    """The character between fields, by the file's extension.

    Raises:
        ConfigError: the extension is another one.
    """
    delimiter = _DELIMITERS.get(path.suffix.lower())
    if delimiter is None:
        raise ConfigError(f"{option}: {path}: its name must end with .csv or .tsv, which says what delimits its fields")
    return delimiter


def read_table(
    option: str, path: Path, needed: Sequence[str], optional: Sequence[str] = ()
) -> Iterator[tuple[str, dict[str, str]]]:
    """Rows of a UTF-8 table, each with its place (`OPTION: PATH: line N`) and its fields by the names of the columns.

    The first row is the header. Rows whose fields are all blank are left out, and so are columns without a name.
    Quotation marks quote in CSV (RFC 4180); in TSV they are text, and no field holds a tab or a line break.

    Args:
        option: names the file, for messages.
        path: a `.csv` or `.tsv` file.
        needed: names of columns that the header must have, in any case and any place.
        optional: names of columns whose case does not matter either; any other column keeps its name.

    Raises:
        ConfigError: the extension is neither.
        DataError: the file cannot be read, has no rows, or a row does not fit the header. In CSV a field that holds a
            delimiter and a line break is refused: it is a sign of a quotation mark that was never closed.
    """
    where, delimiter = f"{option}: {path}", delimiter_of(option, path)
    header: list[str] | None = None
    start, empty = 1, True  # the line that a row begins in; whether no row was found
    try:
        # spreadsheets begin the file with a byte order mark
        with TextIOWrapper(open_regular(path), encoding="utf-8-sig", newline="") as file:
            quoting: Literal[0, 3] = csv.QUOTE_NONE if delimiter == "\t" else csv.QUOTE_MINIMAL
            rows = csv.reader(file, delimiter=delimiter, quoting=quoting, strict=True)
            for row in rows:
                first, start = start, rows.line_num + 1
                if not any(field.strip() for field in row):
                    continue
                if rows.line_num > first:
                    _check_quotes(row, delimiter, f"{where}: lines", first)
                if header is None:
                    header = _header(row, (*needed, *optional))
                    _check_header(header, needed, where, delimiter)
                    continue
                if len(row) != len(header):
                    raise DataError(f"{where}: line {first}: has {len(row)} fields, and the header {len(header)}; "
                                    f"{_ADVICE[delimiter]}")  # fmt: skip
                empty = False
                yield f"{where}: line {first}", {name: field for name, field in zip(header, row, strict=True) if name}
    except FileNotFoundError:
        raise DataError(f"{where}: there is no such file") from None
    except OSError as error:
        raise DataError(f"{where}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{where}: is not UTF-8 ({error.reason}); save it as UTF-8") from None
    except csv.Error as error:
        place = f"line {start}" if rows.line_num <= start else f"lines {start} to {rows.line_num}"
        raise DataError(f"{where}: {place}: {error}; quotes inside a quoted field are doubled") from None
    if header is None:
        _check_header([], needed, where, delimiter)
    if empty:
        raise DataError(f"{where}: has a header and no rows; add some")


def split_named(name: str, where: str) -> Split:
    """The split of a column `split`, in any case.

    Args:
        name: the field.
        where: the row, for the message.

    Raises:
        DataError: there is no such split.
    """
    for split in SPLITS:
        if name.strip().lower() == split:
            return split
    raise DataError(f"{where}: split: there is no split '{name}'; {did_you_mean(name, SPLITS)}")


_ADVICE = {
    ",": "quote fields that have a comma or a line break in them",
    "\t": "a field of a .tsv holds neither a tab nor a line break; save the table as .csv where one has to",
}


def _check_quotes(row: list[str], delimiter: str, where: str, line: int) -> None:
    """Refuses a field in which rows may have disappeared; `line` is where the row begins."""
    for field in row:
        last = line + len(_LINE_BREAK.findall(field))
        if last > line and delimiter in field:
            raise DataError(f"{where} {line} to {last}: are one field, since a quotation mark begins it in line {line} and "
                            f"the next one that ends a field is in line {last}; double the marks that are text (\"\"\"), or "
                            "take the line breaks out of the field")  # fmt: skip
        line = last


def _header(row: list[str], known: Sequence[str]) -> list[str]:
    names = [name.strip() for name in row]
    return [name.lower() if name.lower() in known else name for name in names]


def _check_header(header: list[str], needed: Sequence[str], where: str, delimiter: str) -> None:
    for name in needed:
        if name not in header:
            found = ", ".join(map(repr, header[:6])) or "none"
            unquoted = [each.strip("\"'").lower() for each in header]
            if name in unquoted:
                advice = "; quotation marks are text in a .tsv: leave them out, or save the table as .csv"
            elif len(header) == 1 and (others := [each for each in ";\t|," if each in header[0] and each != delimiter]):
                advice = f"; fields are delimited by {delimiter!r}, and not by {others[0]!r}"
            else:
                advice = ""
            raise DataError(
                f"{where}: its first line names the columns {found}, and '{name}' must be one of them{advice}"
            )
    for name in header:
        if name and header.count(name) > 1:
            raise DataError(f"{where}: its first line has two columns '{name}'; rename one")
