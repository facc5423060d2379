"""Where loaders put their batches, and which part of them."""

from __future__ import annotations

import torch
from lightning.pytorch import Trainer

from project.data.processes import device_of, rank_of


def test_without_a_trainer_it_is_one_process_on_the_cpu():
    assert device_of(None) == torch.device("cpu")
    assert rank_of(None) == (0, 1)


def test_with_a_trainer_it_is_the_trainers():
    trainer = Trainer(accelerator="cpu", devices=1, logger=False, enable_checkpointing=False)
    assert device_of(trainer) == torch.device("cpu")
    assert rank_of(trainer) == (0, 1)
