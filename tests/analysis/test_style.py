"""Figures in one style, without a display and without anything global."""

from __future__ import annotations

import io

import matplotlib
import numpy as np
import pytest
from PIL import Image

from project.analysis.style import COLOURS, new_figure, picture_axes, to_pixels, to_png


def luminance(colour: str) -> float:
    """WCAG 2's relative luminance."""
    channels = np.array(matplotlib.colors.to_rgb(colour))
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ (0.2126, 0.7152, 0.0722))


def test_figures_are_known_to_nobody():
    from matplotlib import pyplot

    figure, axes = new_figure(rows=2, columns=3)
    assert axes.shape == (2, 3)
    assert pyplot.get_fignums() == []
    assert figure.get_size_inches().tolist() == [6.0, 3.6]


def test_the_style_stays_inside():
    before = dict(matplotlib.rcParams)
    to_pixels(new_figure()[0])
    assert dict(matplotlib.rcParams) == before


def test_a_figure_becomes_the_pixels_of_its_png():
    figure, axes = new_figure(3, 2)
    axes[0, 0].plot([0, 1], [0, 1])
    pixels = to_pixels(figure)
    assert pixels.dtype == np.uint8
    assert pixels.shape == (220, 330, 3)
    assert np.array_equal(pixels, np.asarray(Image.open(io.BytesIO(to_png(figure))).convert("RGB")))
    assert Image.open(io.BytesIO(to_png(figure, dpi=55))).size == (165, 110)


def test_lines_take_the_palette_in_order():
    _, axes = new_figure()
    lines = [axes[0, 0].plot([0, 1])[0].get_color() for _ in range(3)]
    assert lines == list(COLOURS[:3])


@pytest.mark.parametrize("colour", COLOURS[:4])
def test_a_line_can_be_seen_on_white(colour):
    assert 1.05 / (luminance(colour) + 0.05) > 3  # WCAG 2: 3 to 1 for graphics


def test_a_picture_has_no_ticks():
    _, axes = new_figure()
    picture_axes(axes[0, 0])
    assert len(axes[0, 0].get_xticks()) == len(axes[0, 0].get_yticks()) == 0
