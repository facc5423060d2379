"""What is drawn of a network: the right channels in order, and means by class."""

from __future__ import annotations

import numpy as np
import torch

from project.analysis.figures.layers import class_maps_figure, stage_maps_figure
from project.analysis.style import to_pixels

RANDOM = np.random.default_rng(0)


def pictures(axes):
    return [np.asarray(image.get_array()) for panel in axes for image in panel.images]


def test_the_strongest_channels_come_first():
    maps = torch.zeros(5, 4, 4)
    maps[3], maps[1] = 2.0, 1.0
    image = RANDOM.integers(0, 256, (3, 8, 8), dtype=np.uint8)
    figure = stage_maps_figure(image, {"stem": maps, "a$b$": torch.ones(2, 1, 1)}, channels=3)
    first, *stem = pictures(figure.axes[:4])
    assert np.array_equal(first, image.transpose(1, 2, 0))
    assert [channel.mean() for channel in stem] == [2.0, 1.0, 0.0]
    assert len(pictures(figure.axes[4:])) == 2  # as many as there are
    assert [figure.axes[place].get_ylabel() for place in (1, 5)] == ["stem\n5 × 4 × 4", "a$b$\n2 × 1 × 1"]
    assert to_pixels(figure).size


def test_each_class_has_its_means():
    images = torch.from_numpy(RANDOM.integers(0, 256, (6, 3, 4, 4), dtype=np.uint8))
    maps = torch.from_numpy(RANDOM.normal(size=(6, 4, 4)))
    labels = torch.tensor([0, 2, 2, 0, 2, 0])
    figure = class_maps_figure(images, maps, labels, ["a", "none of it", "c"])
    upper, lower = pictures(figure.axes[:2]), pictures(figure.axes[2:4])
    for place, k in enumerate((0, 2)):
        assert np.allclose(upper[place], images[labels == k].double().mean(0).permute(1, 2, 0) / 255)
        assert np.allclose(lower[place], maps[labels == k].mean(0))
    assert [axes.get_xlabel() for axes in figure.axes[2:4]] == ["a", "c"]
    low, high = figure.axes[2].images[0].get_clim()
    assert -low == high == max(abs(maps[labels == k].mean(0)).max() for k in (0, 2))
    assert to_pixels(figure).size


def test_of_many_classes_the_first_ten():
    figure = class_maps_figure(
        torch.zeros(12, 3, 4, 4).byte(), torch.ones(12, 4, 4), torch.arange(12), list("abcdefghijkl")
    )
    assert [axes.get_xlabel() for axes in figure.axes[10:20]] == list("abcdefghij")
