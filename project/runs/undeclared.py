"""What Lightning gives every Trainer and declares nowhere, with its type."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Callback, Trainer


def callbacks_of(trainer: Trainer) -> list[Callback]:
    """All of them, in the order in which they are called."""
    return trainer.callbacks  # type: ignore[attr-defined]  # nowhere declared


def data_of(trainer: Trainer) -> Any:
    """The datamodule; None where the loaders were given by themselves."""
    return trainer.datamodule  # type: ignore[attr-defined]  # nowhere declared


def is_logged(trainer: Trainer, steps: int) -> bool:
    """Whether the last of so many steps is one that is logged."""
    return steps % trainer.log_every_n_steps == 0  # type: ignore[attr-defined]  # nowhere declared
