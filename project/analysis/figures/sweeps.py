"""What a sweep has tried, what came of it, and which options it depended on."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from project.analysis.figures.text import heading, plain, shortened
from project.analysis.style import COLOURS, SEQUENTIAL, new_figure

_COLUMNS = 3
_GREY = "#9aa1ad"


def history_figure(table: pd.DataFrame, monitor: str, mode: str) -> Figure:
    """The value of each trial in their order, and the best so far as a line; pruned ones are crosses.

    Args:
        table: a row for each trial, with the columns `trial`, `state` (`complete` or `pruned`; others are left out) and
            `value` (of a pruned one the last).
        monitor: what the value is.
        mode: `min` or `max`, whichever is better.
    """
    figure, axes = new_figure(6.4, 3.2)
    axes = axes[0, 0]
    complete, pruned = (table[table["state"] == state] for state in ("complete", "pruned"))
    best = complete["value"].cummin() if mode == "min" else complete["value"].cummax()
    axes.plot(pruned["trial"], pruned["value"], "x", color=_GREY, markersize=5, label="pruned, at its last validation")
    axes.plot(complete["trial"], complete["value"], "o", color=COLOURS[0], markersize=4, label="complete")
    axes.step(complete["trial"], best, where="post", color=COLOURS[1], label="best so far")
    axes.set(xlabel="trial", ylabel=monitor)
    axes.xaxis.get_major_locator().set_params(integer=True)
    _frame(axes, [*complete["value"], *pruned["value"]])
    figure.legend(loc="outside lower left", ncols=3, frameon=False)
    heading(axes, "Trials in their order")
    return figure


def progress_figure(curves: Mapping[int, Sequence[float]], best: int, monitor: str) -> Figure:
    """The validations of each trial; the best one's in colour.

    Args:
        curves: what each validation of a trial has found, by the trial's number.
        best: the number of the best trial.
        monitor: what was found.
    """
    figure, axes = new_figure(6.4, 3.2)
    axes = axes[0, 0]
    for number, values in sorted(curves.items(), key=lambda item: item[0] == best):
        style = {"color": COLOURS[0], "linewidth": 2.0} if number == best else {"color": _GREY, "linewidth": 0.8}
        axes.plot(range(1, len(values) + 1), values, label=f"trial {number}" if number == best else None, **style)
    axes.set(xlabel="validation", ylabel=monitor)
    _frame(axes, [value for values in curves.values() for value in values])
    if best in curves:
        axes.legend(frameon=False)
    heading(axes, "How the trials went, and where they were stopped")
    return figure


def importance_figure(importances: Mapping[str, float]) -> Figure:
    """The share of each option in how far trials differ, the largest on top.

    Args:
        importances: by option; they add up to 1.
    """
    names = sorted(importances, key=lambda name: -importances[name])
    figure, axes = new_figure(6.4, 1.0 + 0.32 * len(names))
    axes = axes[0, 0]
    axes.barh(range(len(names)), [importances[name] for name in names], color=COLOURS[0], height=0.7)
    axes.set_yticks(range(len(names)), [shortened(name, 40) for name in names])
    plain(axes.get_yticklabels())
    axes.invert_yaxis()
    axes.grid(False, axis="y")
    axes.set(xlim=(0, 1), xlabel="share")
    heading(axes, "Which options it depended on")
    return figure


def slice_figure(table: pd.DataFrame, options: Mapping[str, bool | Sequence[str]], monitor: str) -> Figure:
    """A panel for each option: its values against those of the trials that were completed, later ones lighter.

    Args:
        table: as for `history_figure`, with a column for each option.
        options: by the name of its column, the choices of each in their order, or whether its range is logarithmic.
        monitor: what the value is.
    """
    complete = table[table["state"] == "complete"]
    rows = math.ceil(len(options) / _COLUMNS)
    columns = min(len(options), _COLUMNS)
    figure, axes = new_figure(3.1 * columns + 0.6, 2.7 * rows, rows=rows, columns=columns)
    panels = list(axes.flat)
    for panel, (name, kind) in zip(panels, options.items(), strict=False):
        places = complete[name]
        if not isinstance(kind, bool):
            # beside each other, not over each other
            places = places.map(list(kind).index) + 0.3 * (np.arange(len(places)) / max(len(places) - 1, 1) - 0.5)
            panel.set_xticks(range(len(kind)), [shortened(choice) for choice in kind])
            plain(panel.get_xticklabels())
            panel.set_xlim(-0.6, len(kind) - 0.4)
        elif kind:
            panel.set_xscale("log")
            panel.xaxis.set_minor_formatter(NullFormatter())
        panel.scatter(places, complete["value"], c=complete["trial"], cmap=SEQUENTIAL, s=16)
        panel.set_ylabel(monitor)
        heading(panel, shortened(name, 34))
    for panel in panels[len(options) :]:
        panel.set_visible(False)
    return figure


def _frame(axes: Axes, values: Sequence[float]) -> None:
    """Lets values far outside leave the frame, such as losses of a first epoch: beyond Tukey's fences."""
    if not values:
        return
    low, high = np.quantile(values, (0.25, 0.75))
    bottom, top = max(min(values), low - 1.5 * (high - low)), min(max(values), high + 1.5 * (high - low))
    margin = 0.05 * (top - bottom) or 0.05
    axes.set_ylim(bottom - margin, top + margin)
