"""What a student gains from its teacher, what the teacher tells, and what each network costs.

Shapes: K classes, N images of S × S pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from torch import Tensor

from project.analysis.figures.text import heading, plain, shortened
from project.analysis.soft_labels import soften
from project.analysis.style import COLOURS, SEQUENTIAL, new_figure, picture_axes


def gains_figure(before: pd.DataFrame, after: pd.DataFrame, title: str) -> Figure:
    """How much each class gains: the mean over the seeds that both have, and each seed as a dot.

    Args:
        before: a row for each seed (its index), a column for each class, in 0..1.
        after: likewise.
        title: of the whole.
    """
    gains = 100 * (after - before).dropna(how="all")
    places = np.arange(gains.shape[1])
    figure, axes = new_figure(max(5.0, 0.5 * len(places) + 1.5), 3.0)
    axes = axes[0, 0]
    mean = gains.mean()
    axes.bar(places, mean, 0.65, color=np.where(mean >= 0, COLOURS[0], COLOURS[1]))
    for _, row in gains.iterrows():
        axes.plot(places, row, "o", color="black", markersize=2.5)
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set_xticks(places, [shortened(str(name), 12) for name in gains.columns])
    plain(axes.get_xticklabels())
    axes.grid(False, axis="x")
    axes.set(xlabel="class", ylabel="points of accuracy")
    heading(axes, title)
    return figure


def softened_figure(
    images: Tensor | np.ndarray,
    logits: Tensor,
    class_names: Sequence[str],
    temperatures: Sequence[float] = (1.0, 4.0, 20.0),
) -> Figure:
    """A row for each image: its picture, and its probabilities at several temperatures.

    Args:
        images: (N, 3, S, S) uint8.
        logits: (N, K) float.
        class_names: of the K classes; of more than 12, the first 12 are shown.
        temperatures: see `soften`.
    """
    rows, shown = len(images), min(len(class_names), 12)
    figure, axes = new_figure(1.2 + 2.5 * len(temperatures), 1.25 * rows + 0.5, rows, 1 + len(temperatures))
    axes[0, 0].get_gridspec().set_width_ratios([1.1] + [2.5] * len(temperatures))
    for row, picture in zip(axes[:, 0], np.moveaxis(np.asarray(images), 1, -1), strict=True):
        picture_axes(row).imshow(picture)
    for column, temperature in zip(axes[:, 1:].T, temperatures, strict=True):
        for panel, probabilities in zip(column, soften(logits, temperature)[:, :shown].tolist(), strict=True):
            panel.bar(range(shown), probabilities, color=COLOURS[0])
            panel.set(ylim=(0, 1.02), yticks=[0, 0.5, 1])
            panel.grid(False, axis="x")
            panel.set_xticks(range(shown), [shortened(name, 6) for name in class_names[:shown]], fontsize=7)
            plain(panel.get_xticklabels())
        heading(column[0], f"T = {temperature:g}")
    figure.suptitle("Softened probabilities", x=0.01, ha="left", fontsize=10, fontweight="bold")
    return figure


def matrices_figure(matrices: Mapping[str, Tensor | np.ndarray], class_names: Sequence[str]) -> Figure:
    """Matrices over the same classes beside each other, each on its own scale, rows being true classes.

    Args:
        matrices: (K, K) by title, at least 0; NaN is left empty.
        class_names: of the K classes.
    """
    figure, axes = new_figure(3.9 * len(matrices) + 0.3, 3.7, columns=len(matrices))
    ticks = range(len(class_names)) if len(class_names) <= 20 else []
    for panel, (title, matrix) in zip(axes[0], matrices.items(), strict=True):
        matrix = np.asarray(matrix, dtype=np.float64)
        picture = panel.imshow(matrix, SEQUENTIAL, vmin=0, vmax=max(np.nanmax(matrix), 1e-9))
        panel.grid(False)
        for axis in (panel.xaxis, panel.yaxis):
            axis.set_ticks(ticks, [shortened(class_names[k], 10) for k in ticks])
            plain(axis.get_ticklabels())
        panel.set_ylabel("true")
        figure.colorbar(picture, ax=panel, shrink=0.8).outline.set_visible(False)
        heading(panel, title)
    return figure


def cost_figure(table: pd.DataFrame) -> Figure:
    """Accuracy against parameters, operations and time, a point for each recipe.

    Args:
        table: a row for each, with the columns `name`, `accuracy` and `deviation` (in 0..1, over seeds), `parameters`,
            `flops` and `milliseconds` of an image.
    """
    figure, axes = new_figure(9.4, 3.5, columns=3)
    panels = (
        ("parameters", "parameters"),
        ("flops", "FLOPs of an image"),
        ("milliseconds", "milliseconds of an image"),
    )
    rows: list[Any] = list(table.itertuples())
    for number, (panel, (column, label)) in enumerate(zip(axes[0], panels, strict=True)):
        for place, row in enumerate(rows):
            deviation = 100 * np.nan_to_num(row.deviation)
            panel.errorbar(getattr(row, column), 100 * row.accuracy, deviation, fmt="osDv^P*"[place % 7], capsize=3,
                           color=COLOURS[place % len(COLOURS)], label=row.name)  # fmt: skip
        panel.margins(x=0.2)
        if column == "milliseconds":
            panel.set_xlim(left=0)
        else:
            panel.set_xscale("log")
        panel.set(xlabel=label, ylabel="" if number else "test accuracy, %")
    heading(axes[0, 0], "Accuracy against cost")
    plain(
        figure.legend(
            *axes[0, 0].get_legend_handles_labels(), loc="outside lower left", ncols=2, frameon=False
        ).get_texts()
    )
    return figure
