"""Functions that read runs and draw."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from project.analysis.runs import Runs, load_runs

__all__ = ["Runs", "load_runs"]


def __getattr__(name: str) -> Any:
    """Imports what is asked for only then: who draws during training does without pandas."""
    if name in __all__:
        from project.analysis import runs

        return getattr(runs, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
