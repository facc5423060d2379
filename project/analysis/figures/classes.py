"""A number of each class as bars.

Shapes: K classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from project.analysis.figures.text import heading, plain, shortened
from project.analysis.style import COLOURS, new_figure

_GROUND = {"facecolor": "white", "edgecolor": "none", "pad": 1}  # below a number, above the line of the mean


def class_figure(
    values: Tensor | np.ndarray, class_names: Sequence[str], name: str = "accuracy", max_classes: int = 30
) -> Figure:
    """The worst class on top, and the mean of all as a line.

    Args:
        values: (K,) in 0..1, more is better; NaN for a class that has none, which is left out.
        class_names: the K classes.
        name: what the values are.
        max_classes: of more, the worst, and the title says so.
    """
    values = np.asarray(values, dtype=np.float64)
    known = np.flatnonzero(~np.isnan(values))
    shown = known[np.argsort(values[known], kind="stable")][:max_classes]
    figure, axes = new_figure(5.6, 1.2 + 0.2 * max(len(shown), 5))
    axes = axes[0, 0]
    places = np.arange(len(shown))
    axes.barh(places, values[shown], color=COLOURS[0], height=0.7)
    axes.set_yticks(places, [shortened(class_names[number]) for number in shown])
    plain(axes.get_yticklabels())
    axes.invert_yaxis()
    axes.grid(False, axis="y")
    for place, value in zip(places, values[shown], strict=True):
        axes.text(value + 0.01, place, f"{value:.3f}", va="center", fontsize=7, bbox=_GROUND)
    if len(known):
        mean = values[known].mean()
        axes.axvline(mean, color=COLOURS[1], linewidth=1.2, label=f"mean of all classes {mean:.3f}")
        figure.legend(loc="outside lower right", frameon=False)
    axes.set(xlim=(0, 1.1), xticks=np.linspace(0, 1, 6))
    few = len(shown) < len(known)
    heading(
        axes, f"{name.capitalize()} of " + (f"the worst {len(shown)} of {len(values)} classes" if few else "each class")
    )
    return figure
