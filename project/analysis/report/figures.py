"""Curves that only reports have."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from project.analysis.bootstrap import Estimate
from project.analysis.figures.text import heading, shortened
from project.analysis.style import COLOURS, new_figure


def attack_figure(radii: Sequence[float], accuracies: dict[str, Sequence[Estimate]], num_classes: int) -> Figure:
    """Accuracy against the radius of each attack, and what guessing has.

    Args:
        radii: in 0..255, ascending, with 0 for the images as they are.
        accuracies: one for each radius, by the attack's name.
        num_classes: of which one is guessed.
    """
    figure, axes = new_figure(5.6, 3.4)
    axes = axes[0, 0]
    for place, (name, estimates) in enumerate(accuracies.items()):
        _band(axes, radii, estimates, COLOURS[place], name)
    axes.axhline(1 / num_classes, color=COLOURS[-1], linewidth=1, linestyle=":", label="guessing")
    axes.set(ylim=(0, 1.02), xlabel="ε, steps of 255 that a pixel may move", ylabel="accuracy", xticks=radii)
    heading(axes, "Accuracy under attack")
    axes.legend(frameon=False)
    return figure


def corruption_figure(severities: Sequence[int], accuracies: dict[str, Sequence[Estimate]], columns: int = 5) -> Figure:
    """Accuracy against severity, 0 the images as they are; small axes for each corruption."""
    rows = -(-len(accuracies) // columns)
    figure, axes = new_figure(8.4, 1.8 * rows + 0.2, rows, columns)
    for place, ((name, estimates), each) in enumerate(zip(accuracies.items(), axes.flat, strict=False)):
        _band(each, severities, estimates, COLOURS[0])
        each.set(ylim=(0, 1.02), xticks=severities)
        each.set_title(name, fontsize=9)
        if place % columns:
            each.tick_params(labelleft=False)
        else:
            each.set_ylabel("accuracy")
        if place >= len(accuracies) - columns:
            each.set_xlabel("severity")
    for unused in axes.flat[len(accuracies) :]:
        unused.set_visible(False)
    return figure


def score_figure(
    places: Sequence[float], estimates: Sequence[Estimate], title: str, across: str, up: str, sizes: Sequence[int] = ()
) -> Figure:
    """A score with its interval against a whole number.

    Args:
        places: ascending.
        estimates: one for each.
        title: of the figure.
        across: what the places are.
        up: what the score is.
        sizes: of how many samples each estimate is, where that differs.
    """
    figure, axes = new_figure(5.0, 3.2)
    axes = axes[0, 0]
    values = np.array(estimates)
    error = np.abs(values[:, 1:] - values[:, :1]).T
    axes.errorbar(places, values[:, 0], _lengths(error), fmt="o-", color=COLOURS[0], capsize=3, markersize=4)
    labels = [f"{place:g}" for place in places]
    if len(sizes):
        labels = [f"{label}\n({size:,})" for label, size in zip(labels, sizes, strict=True)]
    axes.set_xticks(places, labels)
    axes.set(xlabel=across, ylabel=up, ylim=(0, None))
    heading(axes, title)
    return figure


def _lengths(error: np.ndarray) -> np.ndarray:
    """Lengths of the bars, (2, n): none where there is no interval."""
    return np.nan_to_num(error)


def group_figure(
    names: Sequence[str], estimates: Sequence[Estimate], sizes: Sequence[int], title: str, up: str
) -> Figure:
    """A score of each group as a point with its interval, in the groups' order."""
    figure, axes = new_figure(5.6, 0.9 + 0.28 * len(names))
    axes = axes[0, 0]
    values = np.array(estimates)
    places = np.arange(len(names))
    error = np.abs(values[:, 1:] - values[:, :1]).T
    axes.errorbar(values[:, 0], places, xerr=_lengths(error), fmt="o", color=COLOURS[0], capsize=3, markersize=5)
    labels = [f"{shortened(name)} ({size:,})" for name, size in zip(names, sizes, strict=True)]
    axes.set_yticks(places, labels)
    for label in axes.get_yticklabels():
        label.set_parse_math(False)
    axes.invert_yaxis()
    axes.grid(False, axis="y")
    axes.set(xlabel=up, xlim=(0, None), ylim=(len(names) - 0.5, -0.5))
    heading(axes, title)
    return figure


def _band(axes: Axes, places: Sequence[float], estimates: Sequence[Estimate], colour: str, label: str = "") -> None:
    values = np.array(estimates)
    axes.plot(places, values[:, 0], "o-", color=colour, markersize=3, label=label or None)
    axes.fill_between(places, values[:, 1], values[:, 2], color=colour, alpha=0.2, linewidth=0)
