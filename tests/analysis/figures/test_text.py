"""Names on figures."""

from __future__ import annotations

import pytest

from project.analysis.figures.text import heading, plain, shortened
from project.analysis.style import new_figure, to_pixels


@pytest.mark.parametrize(
    ("name", "expected"),
    [("cat", "cat"), ("a" * 18, "a" * 18), ("a" * 19, "a" * 17 + "…"), ("two\n lines", "two lines"), ("", "")],
)
def test_a_name_is_cut_to_its_length(name, expected):
    assert shortened(name) == expected


def test_dollars_stay_dollars():
    figure, axes = new_figure()
    heading(axes[0, 0], r"$\nonsense{$")
    axes[0, 0].set_xticks([0], [r"$\nonsense{$"])
    with pytest.raises(ValueError, match="nonsense"):
        to_pixels(figure)
    plain(axes[0, 0].get_xticklabels())
    to_pixels(figure)
