"""Precision against recall.

Shapes: K classes, T thresholds.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from project.analysis.figures.text import heading, plain, shortened
from project.analysis.style import COLOURS, new_figure


def precision_recall_figure(
    precision: Tensor | np.ndarray, recall: Tensor | np.ndarray, class_names: Sequence[str], max_classes: int = 6
) -> Figure:
    """A curve of each class against the rest: those with the least average precision, and that of all in the title.

    Average precision is Σ_t (R_t - R_{t-1}) P_t, the area below the curve in steps, as in scikit-learn.

    Args:
        precision: (K, T) in 0..1 at rising thresholds, as torchmetrics' `MulticlassPrecisionRecallCurve` with a number
            of thresholds gives it; where it is no number it counts as 1.
        recall: (K, T), falling, likewise.
        class_names: the K classes.
        max_classes: how many curves at most.
    """
    precision = np.nan_to_num(np.asarray(precision, dtype=np.float64), nan=1.0)
    recall = np.nan_to_num(np.asarray(recall, dtype=np.float64))
    area = (-np.diff(recall, axis=1, append=0) * precision).sum(1)
    shown = np.argsort(area, kind="stable")[:max_classes]
    figure, axes = new_figure(6.6, 4.0)
    axes = axes[0, 0]
    for place, number in enumerate(shown):
        colour, style = COLOURS[place % len(COLOURS)], ("-", "--", ":")[place // len(COLOURS) % 3]
        label = f"{area[number]:.3f} {shortened(class_names[number])}"  # the number first: `_name` would be hidden
        axes.step(recall[number], precision[number], style, where="pre", color=colour, label=label)
    axes.set(xlim=(0, 1.02), ylim=(0, 1.02), xlabel="recall", ylabel="precision")
    heading(axes, f"Mean average precision {area.mean():.3f}")
    few = f"the {len(shown)} worst of {len(area)}" if len(shown) < len(area) else "average precision"
    plain(figure.legend(loc="outside right upper", title=few, frameon=False).get_texts())
    return figure
