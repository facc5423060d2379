"""Device and rank that loaders are made for; without a Trainer, as in a notebook, this process alone on the CPU."""

from __future__ import annotations

import torch
from lightning.pytorch import Trainer


def device_of(trainer: Trainer | None) -> torch.device:
    """Device that trains."""
    return torch.device("cpu") if trainer is None else trainer.strategy.root_device


def rank_of(trainer: Trainer | None) -> tuple[int, int]:
    """Rank of this process, and their number."""
    return (0, 1) if trainer is None else (trainer.global_rank, trainer.world_size)
