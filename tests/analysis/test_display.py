"""What IPython is handed of a figure."""

from __future__ import annotations

import io
import warnings

import numpy as np
import pytest
from IPython.core.interactiveshell import InteractiveShell
from PIL import Image
from traitlets.config import Config

from project.analysis.display import describe, set_up_notebook
from project.analysis.style import new_figure, to_pixels


@pytest.fixture
def shell(tmp_path, monkeypatch):
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    yield InteractiveShell.instance(config=Config(HistoryManager={"enabled": False}))
    InteractiveShell.clear_instance()


def test_a_figure_is_shown_in_its_own_style(shell):
    figure, axes = new_figure(3, 2)
    axes[0, 0].set_title("A line", loc="left")
    with warnings.catch_warnings():
        set_up_notebook()
        warnings.warn("IProgress not found. Please update jupyter.", UserWarning, stacklevel=1)
    data, metadata = shell.display_formatter.format(figure)
    picture = np.asarray(Image.open(io.BytesIO(data["image/png"])).convert("RGB"))
    assert np.array_equal(picture, to_pixels(figure))
    assert metadata["image/png"] == {"alt": "A line"}


def test_all_titles_are_told():
    figure, axes = new_figure(rows=1, columns=3)
    figure.suptitle("Above")
    axes[0, 0].set_title("left", loc="left")
    axes[0, 2].set_title("centre", loc="center")
    assert describe(figure) == "Above; left; centre"
