"""Names of metrics that options monitor, which are known before training."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lightning.pytorch import Callback

from project.callbacks.checkpointing import CheckpointOptions
from project.errors import ConfigError, did_you_mean
from project.tasks import Task

_OURS = ("project", "lightning")


def check_monitors(task: Task, checkpoint: CheckpointOptions, scheduler: Any, callbacks: list[Callback]) -> None:
    """Refuses what is monitored and never recorded.

    A task or a callback from outside may record anything, so with one of them nothing is refused here; its metric is looked for
    when it is needed.

    Args:
        task: that trains.
        checkpoint: its `monitor` also stops early; it is looked at after a validation.
        scheduler: the option `model.lr_scheduler`, as parsed.
        callbacks: those that the configuration lists.

    Raises:
        ConfigError: there is no metric of a name.
    """
    if any(type(each).__module__.partition(".")[0] not in _OURS for each in (task, *callbacks)):
        return
    known = task.metric_names()
    for option, name, in_validation in _monitored(checkpoint, scheduler, callbacks):
        names = {each for each in known if each.startswith("val/")} if in_validation else known
        if name not in names:
            raise ConfigError(f"{option}: no metric '{name}'; {did_you_mean(name, names)}")


def _monitored(
    checkpoint: CheckpointOptions, scheduler: Any, callbacks: list[Callback]
) -> Iterator[tuple[str, str, bool]]:
    """Options, the names that they have, and whether these are looked at right after a validation."""
    if checkpoint.monitor is not None:
        yield "checkpoint.monitor", checkpoint.monitor, True
    options = getattr(scheduler, "init_args", None)
    if options is not None and isinstance(name := options.get("monitor"), str):
        yield "model.lr_scheduler.monitor", name, False
    for callback in callbacks:
        if isinstance(name := getattr(callback, "monitor", None), str):
            yield f"trainer.callbacks: {type(callback).__name__}.monitor", name, False
