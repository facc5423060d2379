"""What a notebook begins with: figures that end a cell are shown, and say what they are to who cannot see them."""

from __future__ import annotations

import warnings

from IPython import get_ipython
from matplotlib.figure import Figure

from project.analysis.style import to_png


def set_up_notebook() -> None:
    """From now on the notebook shows figures of `new_figure`, in their own style and without pyplot."""
    formatter = get_ipython().display_formatter.formatters["image/png"]
    formatter.for_type(Figure, lambda figure: (to_png(figure), {"alt": describe(figure)}))
    # Captum imports tqdm's widgets, which are not needed
    warnings.filterwarnings("ignore", "IProgress not found")


def describe(figure: Figure) -> str:
    """The titles of a figure and of its panels, as one text."""
    titles = [figure.get_suptitle(), *(axes.get_title("left") or axes.get_title() for axes in figure.axes)]
    return "; ".join(filter(None, titles))
