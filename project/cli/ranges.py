"""Numbers and callbacks that Lightning takes and then fails over, or that mean nothing."""

from __future__ import annotations

import math
from typing import Any

from project.errors import ConfigError

_LEAST: dict[str, float] = {
    "trainer.accumulate_grad_batches": 1,
    "trainer.check_val_every_n_epoch": 1,
    "trainer.gradient_clip_val": 0,
    "trainer.log_every_n_steps": 0,
    "seed": 0,
    "budget.images": 1,
    "budget.min_epochs": 1,
    "budget.max_epochs": 1,
}
_ABOVE_ZERO = ("trainer.val_check_interval",)
_LARGEST_SEED = 2**32 - 1
_CALLBACKS = {
    "BackboneFinetuning": "knows no part of these networks; use model.fine_tuning.head_epochs",
    "ModelPruning": "cannot prune filters that lie channels-last, as they do here",
    "StochasticWeightAveraging": "averages behind the last checkpoint, which would not have it; use ema.decay",
    "Timer": "cannot be kept in a configuration; use trainer.max_time",
}
"""Callbacks of Lightning that end in the middle of a run, and what does their work."""


def check_ranges(config: Any) -> None:
    """Raises `ConfigError` where an option of a command is out of its range, or a callback of Lightning cannot run.

    Args:
        config: of the command.
    """
    for name, least in _LEAST.items():
        value = config.get(name)
        if isinstance(value, (int, float)) and not least <= value < math.inf:
            raise ConfigError(f"{name}: must be at least {least}; got {value}")
    for name in _ABOVE_ZERO:
        value = config.get(name)
        if isinstance(value, (int, float)) and not 0 < value < math.inf:
            raise ConfigError(f"{name}: must be above 0; got {value}")
    if (seed := config.get("seed")) is not None and seed > _LARGEST_SEED:
        raise ConfigError(f"seed: must be at most {_LARGEST_SEED}; got {seed}")
    callbacks = config.get("trainer.callbacks") or []
    for callback in callbacks if isinstance(callbacks, list) else [callbacks]:
        package, _, called = callback.class_path.rpartition(".")
        if called in _CALLBACKS and package.startswith("lightning."):
            raise ConfigError(f"trainer.callbacks: {called} {_CALLBACKS[called]}")
    name = config.get("name")
    if name is not None and ("/" in name or "\\" in name or name in ("", ".", "..")):
        raise ConfigError(f"name: must be the name of a folder below trainer.default_root_dir; got {name!r}")
