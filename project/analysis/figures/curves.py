"""Learning curves of several recipes, each with the spread of its seeds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from project.analysis.figures.text import heading, plain
from project.analysis.style import COLOURS, new_figure

_SPLITS: dict[str, Literal["-", ":"]] = {"val": "-", "train": ":"}
_WORDS = {"val": "validation", "train": "training"}
_NAMES = {"cider_d": "CIDEr-D", "rouge_l": "ROUGE-L", "teacher_kl": "divergence from the teacher"}
_NAMES |= {f"bleu_{n}": f"BLEU-{n}" for n in range(1, 5)}


def curves_figure(
    metrics: pd.DataFrame, names: Sequence[str] = ("loss", "accuracy"), by: str = "name", title: str = "Learning curves"
) -> Figure:
    """A panel for each metric: the mean over the runs of a recipe, in a band from the least of them to the largest.

    Validation is a solid line and training a dotted one. A recipe of one run has no band.

    Args:
        metrics: as `Runs.metrics` has them.
        names: metrics without their split, such as `loss` for `train/loss` and `val/loss`; one that no run has is left
            out.
        by: the column that tells recipes apart.
        title: what stands before the name of the first metric.
    """
    shown = metrics[metrics["metric"].isin([f"{split}/{name}" for split in _SPLITS for name in names])]
    names = [name for name in names if shown["metric"].str.endswith(f"/{name}").any()] or list(names)[:1]
    recipes = list(dict.fromkeys(shown[by]))
    colours = {recipe: COLOURS[place % len(COLOURS)] for place, recipe in enumerate(recipes)}
    figure, axes = new_figure(4.2 * len(names) + 0.6, 3.4 + 0.18 * len(recipes), columns=len(names))
    for place, (panel, name) in enumerate(zip(axes[0], names, strict=True)):
        for recipe in recipes:
            for split, style in _SPLITS.items():
                of_recipe = shown[(shown[by] == recipe) & (shown["metric"] == f"{split}/{name}")]
                if len(of_recipe):
                    _curve(panel, of_recipe, colours[recipe], style)
        label = _NAMES.get(name, name.replace("_", " "))
        heading(panel, f"{title}: {label}" if place == 0 else label[:1].upper() + label[1:])
        panel.set(xlabel="epochs", ylabel=label)
        if "loss" in name and shown["value"].min() > 0:
            panel.set_yscale("log")
    counts = shown.groupby(by)["run"].nunique()
    lines = [Line2D([], [], color=colours[recipe], label=f"{recipe} ({_runs(counts[recipe])})") for recipe in recipes]
    used = [split for split in _SPLITS if shown["metric"].str.startswith(f"{split}/").any()]
    styles = [Line2D([], [], color="#60646c", linestyle=_SPLITS[split], label=_WORDS[split]) for split in used]
    if lines:
        plain(figure.legend(handles=lines, loc="outside lower left", frameon=False).get_texts())
        axes[0, 0].legend(handles=styles, frameon=False)
    return figure


def _curve(axes: Axes, values: pd.DataFrame, colour: str, style: str) -> None:
    # an epoch that was gone through in part and again after resuming has one row, its last
    each = values.groupby(["run", "epoch"])["value"].last().groupby("epoch")
    mean, least, largest = each.mean(), each.min(), each.max()
    axes.plot(mean.index + 1, mean, color=colour, linestyle=style)
    if (least < largest).any():
        axes.fill_between(mean.index + 1, least, largest, color=colour, alpha=0.18, linewidth=0)


def _runs(count: int) -> str:
    return "1 run" if count == 1 else f"{count} runs"
