"""What a report is made of: sections of tables, pictures, examples and notes.

The page and `report.json` are two views of the same blocks, so that they cannot differ. A number stands below the name
of a definition, or it is an error.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from project.analysis.bootstrap import Estimate
from project.analysis.report.definitions import DEFINITIONS
from project.analysis.style import to_png

Value = Estimate | float | int | str | None
_PIXEL_ART = 96  # up to this side an image is shown as sharp squares


@dataclass(frozen=True)
class Table:
    """Rows of values, each column below the name of a definition.

    Attributes:
        name: its key in `report.json`.
        columns: names of definitions.
        rows: one value a column.
        title: above it, on the page.
        shown: how many rows the page shows; `report.json` has all.
    """

    name: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Value]]
    title: str
    shown: int = 40
    kind: ClassVar[str] = "table"

    def __post_init__(self) -> None:
        _check(self.columns)
        assert all(len(row) == len(self.columns) for row in self.rows), self.name

    def plain(self) -> Any:
        """A list of objects."""
        return [{name: _plain(value) for name, value in zip(self.columns, row, strict=True)} for row in self.rows]


@dataclass(frozen=True)
class Numbers:
    """Single values by the names of their definitions."""

    name: str
    values: dict[str, Value]
    kind: ClassVar[str] = "numbers"

    def __post_init__(self) -> None:
        _check(self.values)

    def plain(self) -> Any:
        """An object."""
        return {name: _plain(value) for name, value in self.values.items()}


@dataclass(frozen=True)
class Data:
    """What `report.json` alone has, under the name of its definition; the page has a picture of it."""

    name: str
    values: list[Any]
    kind: ClassVar[str] = "data"

    def __post_init__(self) -> None:
        _check([self.name])

    def plain(self) -> Any:
        """As it is."""
        return self.values


@dataclass(frozen=True)
class Picture:
    """A figure on the page.

    Attributes:
        source: a `data:` URI.
        text: what it shows, for who cannot see it.
        caption: below it.
        width: in pixels of the page.
        height: likewise.
    """

    source: str
    text: str
    caption: str
    width: int
    height: int
    kind: ClassVar[str] = "picture"

    @classmethod
    def of(cls, figure: Figure, text: str, caption: str = "") -> Picture:
        """Of a figure, with more pixels than it takes on a usual screen."""
        width, height = (round(96 * inches) for inches in figure.get_size_inches())
        return cls(_data_uri(to_png(figure, dpi=160), "png"), text, caption, width, height)


@dataclass(frozen=True)
class Example:
    """An image with what is said of it: lines of text, and values by the names of their definitions."""

    source: str
    sharp: bool
    said: str
    true: str
    values: dict[str, Value]

    @classmethod
    def of(cls, image: np.ndarray, said: str, true: str, **values: Value) -> Example:
        """Of an image (S, S, 3) uint8."""
        _check(values)
        file = io.BytesIO()
        sharp = len(image) <= _PIXEL_ART
        Image.fromarray(image).save(file, "WEBP", quality=80, lossless=sharp)
        return cls(_data_uri(file.getvalue(), "webp"), sharp, said, true, values)


@dataclass(frozen=True)
class Examples:
    """Images in a row, see `Table` for `name` and `title`."""

    name: str
    title: str
    items: Sequence[Example]
    kind: ClassVar[str] = "examples"

    def plain(self) -> Any:
        """A list of objects, without the pictures."""
        return [
            {"said": item.said, "true": item.true} | {name: _plain(value) for name, value in item.values.items()}
            for item in self.items
        ]


@dataclass(frozen=True)
class Note:
    """A sentence on the page."""

    text: str
    kind: ClassVar[str] = "note"


Block = Table | Numbers | Data | Picture | Examples | Note


@dataclass(frozen=True)
class Section:
    """A part of the report.

    Attributes:
        name: its key in `report.json`, its anchor on the page, and what `--sections` calls it.
        title: its heading.
        introduction: a sentence or two below it.
        blocks: in order.
    """

    name: str
    title: str
    introduction: str
    blocks: list[Block] = field(default_factory=list)

    def plain(self) -> dict[str, Any]:
        """Of plain JSON types."""
        return {block.name: block.plain() for block in self.blocks if not isinstance(block, (Picture, Note))}


def shown(value: Value, name: str) -> str:
    """A value as the page shows it, without its interval."""
    if isinstance(value, Estimate):
        value = value.value
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    if isinstance(value, str):
        return value
    form = DEFINITIONS[name].form
    if form == "share":
        return f"{100 * value:.1f} %"
    if form == "small share":
        return f"{100 * value:.2f} %"
    if form == "time":
        return _time(value)
    if form == "large":
        return _large(value)
    if isinstance(value, int) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"


def interval(value: Value, name: str) -> str:
    """The interval of an estimate as the page shows it; empty where there is none."""
    if not isinstance(value, Estimate) or math.isnan(value.low):
        return ""
    return f"{shown(value.low, name).removesuffix(' %')} to {shown(value.high, name)}"


def _time(seconds: float) -> str:
    for unit, factor in (("s", 1.0), ("ms", 1e3), ("µs", 1e6)):
        if seconds * factor >= 1 or unit == "µs":
            break
    return f"{seconds * factor:.3g} {unit}"


def _large(count: float) -> str:
    for unit, factor in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if count >= factor:
            return f"{count / factor:.3g} {unit}"
    return f"{count:.3g}"


def _check(names: Any) -> None:
    unknown = set(names) - DEFINITIONS.keys()
    assert not unknown, f"no definition of {unknown}"


def _plain(value: Value) -> Any:
    """JSON has no NaN and no infinity."""
    if isinstance(value, Estimate):
        return {name: _plain(number) for name, number in value._asdict().items()}
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _data_uri(content: bytes, kind: str) -> str:
    return f"data:image/{kind};base64," + base64.b64encode(content).decode()
