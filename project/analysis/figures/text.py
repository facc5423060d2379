"""What is written on figures: headings, and names from data as they are, but short."""

from __future__ import annotations

from collections.abc import Iterable

from matplotlib.axes import Axes
from matplotlib.text import Text

_LENGTH = 18


def heading(axes: Axes, text: str) -> None:
    """The house's heading: bold, above the left edge."""
    axes.set_title(text, loc="left", fontsize=10, fontweight="bold", parse_math=False)


def shortened(name: str, length: int = _LENGTH) -> str:
    """A name of at most so many characters, on one line; what was cut is `…`."""
    name = " ".join(name.split())
    return name if len(name) <= length else f"{name[: length - 1]}…"


def plain(texts: Iterable[Text]) -> None:
    """Lets names with two dollar signs show them, which matplotlib would take for a formula."""
    for text in texts:
        text.set_parse_math(False)
