"""Whether a classifier is right as often as it says.

Shapes: M bins.
"""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from project.analysis.figures.text import heading
from project.analysis.style import COLOURS, new_figure
from project.metrics.calibration import Bins


def reliability_figure(bins: Bins, title: str = "Reliability") -> Figure:
    """A reliability diagram (Guo et al. 2017, arXiv:1706.04599, figure 1), with the bins' shares of the samples beneath.

    Args:
        bins: M bins of equal width over 0..1.
        title: what stands before the expected calibration error, which is in the title in per cent.
    """
    count, confidence, accuracy = (np.asarray(values, dtype=np.float64) for values in bins)
    filled = count > 0
    count, confidence, accuracy = count[filled], confidence[filled], accuracy[filled]
    width = 1 / len(filled)
    left = np.arange(len(filled))[filled] * width
    share = count / max(count.sum(), 1)
    figure, axes = new_figure(4.6, 5.2, rows=2)
    axes[0, 0].get_gridspec().set_height_ratios([3, 1])
    upper, lower = axes[:, 0]
    upper.plot([0, 1], [0, 1], color=COLOURS[6], linewidth=1, linestyle=":", label="as sure as right")
    upper.bar(left, accuracy, width, align="edge", color=COLOURS[0], alpha=0.75, edgecolor="white", label="accuracy")
    upper.plot(confidence, accuracy, "o", color=COLOURS[1], markersize=4, label="mean confidence")
    upper.set(xlim=(0, 1), ylim=(0, 1), ylabel="accuracy", xticklabels=[])
    error = 100 * np.abs(accuracy - confidence) @ share
    heading(upper, f"{title}: ECE {error:.2f} %" if len(count) else f"{title}: no samples")
    figure.legend(loc="outside lower center", ncols=3, fontsize=7, frameon=False)  # inside it would cover bars
    lower.bar(left, share, width, align="edge", color=COLOURS[0], alpha=0.75, edgecolor="white")
    lower.set(xlim=(0, 1), ylim=(0, 1), xlabel="probability of the prediction", ylabel="share of samples")
    return figure
