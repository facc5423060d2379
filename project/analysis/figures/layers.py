"""What a network sees: its feature maps stage by stage, and which pixels speak for a class.

Shapes: N images of S × S pixels, C channels of h × w, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from project.analysis.figures.text import plain, shortened
from project.analysis.style import SEQUENTIAL, new_figure, picture_axes

_SIDE = 0.95  # inches
_AGAINST_AND_FOR = "PuOr"  # orange and purple, told apart in colour-blind vision
"""Diverging map of ColorBrewer (Harrower and Brewer 2003, doi:10.1179/000870403235002042)."""


def stage_maps_figure(
    image: Tensor | np.ndarray, stages: Mapping[str, Tensor | np.ndarray], channels: int = 8
) -> Figure:
    """The most active channels of each stage for one image, which stands before the first row.

    Args:
        image: (3, S, S) uint8.
        stages: (C, h, w) float by the stage's name, in order.
        channels: how many of each are shown: those with the largest mean, in that order.
    """
    figure, axes = new_figure(
        (channels + 1) * _SIDE + 0.9, len(stages) * (_SIDE + 0.12) + 0.4, len(stages), channels + 1
    )
    for panel in axes.flat:
        picture_axes(panel)
    axes[0, 0].imshow(np.moveaxis(np.asarray(image), 0, -1))
    for row, (name, maps) in zip(axes, stages.items(), strict=True):
        maps = np.asarray(maps, dtype=np.float32)
        strongest = np.argsort(-maps.mean((1, 2)), kind="stable")[:channels]
        for panel, channel in zip(row[1:], strongest, strict=False):
            panel.imshow(maps[channel], SEQUENTIAL)
        row[1].set_ylabel(f"{name}\n{len(maps)} × {maps.shape[1]} × {maps.shape[2]}", fontsize=8)
    plain(panel.yaxis.label for panel in axes[:, 1])
    _title(figure, "An image, and the strongest channels of each stage for it")
    return figure


def class_maps_figure(
    images: Tensor | np.ndarray, maps: Tensor | np.ndarray, labels: Tensor | np.ndarray, class_names: Sequence[str]
) -> Figure:
    """Above the mean image of each class, below it the mean of what its pixels say for and against the class.

    Args:
        images: (N, 3, S, S) uint8.
        maps: (N, S, S) float, such as `integrated_gradients` of each image for its own label.
        labels: (N,) int.
        class_names: of the K classes; the first ten are shown.
    """
    images, maps, labels = (np.asarray(part) for part in (images, maps, labels))
    shown = [k for k in range(len(class_names)) if (labels == k).any()][:10]
    means = [maps[labels == k].mean(0) for k in shown]
    reach = max(float(np.abs(mean).max()) for mean in means)
    figure, axes = new_figure(len(shown) * _SIDE + 1.2, 2 * _SIDE + 0.8, 2, len(shown))
    for panel in axes.flat:
        picture_axes(panel)
    for (upper, lower), k, mean in zip(axes.T, shown, means, strict=True):
        upper.imshow(np.moveaxis(images[labels == k].mean(0) / 255, 0, -1))
        drawn = lower.imshow(mean, _AGAINST_AND_FOR, vmin=-reach, vmax=reach)
        lower.set_xlabel(shortened(class_names[k], 12), fontsize=8)
    plain(panel.xaxis.label for panel in axes[1])
    _title(figure, "The mean image of each class, and which of its pixels speak for the class")
    bar = figure.colorbar(drawn, ax=axes, shrink=0.8, label="against         for", ticks=[0])
    bar.outline.set_visible(False)
    return figure


def _title(figure: Figure, text: str) -> None:
    """The house's heading above all panels: that of one alone would push the others aside."""
    figure.suptitle(text, x=0.01, ha="left", fontsize=10, fontweight="bold", parse_math=False)
