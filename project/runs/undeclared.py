"""What Lightning gives every Trainer and declares nowhere, with its type."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Callback, Trainer


def callbacks_of(trainer: Trainer) -> list[Callback]:
    """All of them, in the order in which they are called."""
    undeclared: Any = trainer
    return undeclared.callbacks


def data_of(trainer: Trainer) -> Any:
    """The datamodule; None where the loaders were given by themselves."""
    return getattr(trainer, "datamodule", None)


def training_source(trainer: Trainer) -> Any:
    """Source of the training batches: a loader, a datamodule or a module."""
    return trainer.fit_loop._data_source.instance


def forget_earlier_data(trainer: Trainer) -> None:
    """Takes the datamodule of an earlier call away, which Lightning keeps when the next call gives loaders."""
    undeclared: Any = trainer
    undeclared.datamodule = undeclared._data_connector._datahook_selector.datamodule


def is_logged(trainer: Trainer, steps: int) -> bool:
    """Whether the last of so many steps is one that is logged."""
    undeclared: Any = trainer
    return steps % undeclared.log_every_n_steps == 0
