"""Precision against recall.

Shapes: K classes, T thresholds of a class.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from project.analysis.figures.text import heading, plain, shortened
from project.analysis.style import COLOURS, new_figure

_POINTS = 500


def precision_recall_figure(
    precision: Iterable[Tensor], recall: Iterable[Tensor], class_names: Sequence[str], max_classes: int = 6
) -> Figure:
    """A curve of each class against the rest: those with the least average precision, and that of all in the title.

    Average precision is Σ_t (R_t - R_{t-1}) P_t, the area below the curve in steps, as in scikit-learn.

    Args:
        precision: of each class (T,), in 0..1 at rising thresholds, as torchmetrics' `MulticlassPrecisionRecallCurve`
            gives it; where it is no number it counts as 1.
        recall: (T,) likewise, falling; no number for a class without samples, which is left out.
        class_names: the K classes.
        max_classes: how many curves at most.
    """
    recall = list(recall)
    # to recall 0, which the highest threshold may not reach
    heights = [np.append(values := np.nan_to_num(each.double().numpy(), nan=1.0), values[-1]) for each in precision]
    widths = [np.append(np.nan_to_num(each.double().numpy()), 0.0) for each in recall]
    area = np.array([-np.diff(width) @ height[:-1] for width, height in zip(widths, heights, strict=True)])
    known = np.flatnonzero([not each.isnan().any() for each in recall])
    shown = known[np.argsort(area[known], kind="stable")][:max_classes]
    figure, axes = new_figure(6.6, 4.0)
    axes = axes[0, 0]
    for place, number in enumerate(shown):
        colour, style = COLOURS[place % len(COLOURS)], ("-", "--", ":")[place // len(COLOURS) % 3]
        label = f"{area[number]:.3f} {shortened(class_names[number])}"  # the number first: `_name` would be hidden
        points = _thinned(len(widths[number]))
        axes.step(widths[number][points], heights[number][points], style, where="post", color=colour, label=label)
    axes.set(xlim=(0, 1.02), ylim=(0, 1.02), xlabel="recall", ylabel="precision")
    heading(axes, f"Mean average precision {area[known].mean():.3f}" if len(known) else "No class has samples")
    few = f"the {len(shown)} worst of {len(known)}" if len(shown) < len(known) else "average precision"
    plain(figure.legend(loc="outside right upper", title=few, frameon=False).get_texts())
    return figure


def _thinned(count: int) -> np.ndarray:
    """Which points of a curve are drawn: more would make a page large, and nothing visible."""
    return np.unique(np.linspace(0, count - 1, min(count, _POINTS)).round().astype(np.int64))
