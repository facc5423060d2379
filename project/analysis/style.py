"""One look for all figures: sober, readable in colour-blind vision, in grey, and small.

Figures are made without pyplot, so nothing global holds them: they need not be closed, and no display is asked for.
"""

from __future__ import annotations

import io
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.rcsetup import cycler
from matplotlib.text import Text

from project.text import printable

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
"""Okabe and Ito 2008, "Color Universal Design", in an order that stays apart in grey."""

SEQUENTIAL = "cividis"
"""A colour map whose lightness alone tells its values (Nuñez et al. 2018, arXiv:1712.01662)."""

_LINE, _TEXT = "#c8ccd4", "#20242c"
_STYLE: dict[Any, Any] = {  # matplotlib has a type of all keys, and no name for it
    "axes.axisbelow": True,
    "axes.edgecolor": _LINE,
    "axes.grid": True,
    "axes.labelcolor": _TEXT,
    "axes.prop_cycle": cycler(color=COLOURS),
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": "medium",
    "axes.titleweight": "bold",
    "figure.dpi": 110,
    "figure.facecolor": "white",
    "font.size": 9,
    "grid.color": "#e8eaee",
    "image.cmap": SEQUENTIAL,
    "image.interpolation": "nearest",
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "xtick.color": _TEXT,
    "ytick.color": _TEXT,
}


def new_figure(width: float = 6.0, height: float = 3.6, rows: int = 1, columns: int = 1) -> tuple[Figure, np.ndarray]:
    """A figure in the house's style.

    Args:
        width: in inches, of 110 pixels.
        height: likewise.
        rows: of axes.
        columns: of axes.

    Returns:
        The figure, and its `Axes` (rows, columns), which are laid out without overlap.
    """
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(rows, columns, squeeze=False)
    return figure, axes


def picture_axes(axes: Axes) -> Axes:
    """The same axes without ticks, grid and frame, for a picture."""
    axes.grid(False)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    return axes


def to_pixels(figure: Figure) -> np.ndarray:
    """What a figure looks like, (H, W, 3) uint8."""
    with matplotlib.rc_context(_STYLE):
        canvas = figure.canvas
        assert isinstance(canvas, FigureCanvasAgg), "of `new_figure`"
        _make_printable(figure)
        canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def to_png(figure: Figure, dpi: int = 110) -> bytes:
    """The same as a PNG file of so many pixels an inch."""
    file = io.BytesIO()
    with matplotlib.rc_context(_STYLE):
        _make_printable(figure)
        figure.savefig(file, format="png", dpi=dpi)
    return file.getvalue()


def _make_printable(figure: Figure) -> None:
    """Matplotlib cannot draw surrogates, which are in file names that are not UTF-8, and in JSON that was cut."""
    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        text.set_text("\n".join(map(printable, text.get_text().split("\n"))))
