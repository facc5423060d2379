"""A signal to one of several processes stops all of them, at the same batch; the scheduler's included."""

from __future__ import annotations

from typing import Any

import torch
from lightning.fabric.plugins.environments import SLURMEnvironment
from lightning.pytorch import Callback, LightningModule, Trainer


class StopTogether(Callback):
    """Has the processes of a run agree, after every batch, on whether a signal has asked one of them to stop.

    Lightning 2.6 has each process broadcast inside its signal handler, which meets whatever the others are exchanging
    at that moment: they hang, or take one number for another. And after each batch it asks the first process alone.

    Evaluation batches are asked about as long as every process has more of them, since shares differ by a batch; what
    comes later waits for the next training batch. A single process needs none of this.

    Under SLURM Lightning would save one more checkpoint at each warning, in the middle of a step, and start the job
    again by itself; that is left to the job's script (`scripts/slurm.sh`), which sees the run stop like any other.
    """

    def __init__(self) -> None:
        self._asked = False
        self._common = 0  # evaluation batches that every process has

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Takes the place of Lightning's handlers, which are registered after this, and of its question."""
        environment = trainer._accelerator_connector.cluster_environment
        if isinstance(environment, SLURMEnvironment):
            environment.auto_requeue = False
        if trainer.world_size > 1:
            signals: Any = trainer._signal_connector
            loop: Any = trainer.fit_loop.epoch_loop
            signals._sigterm_notifier_fn = self._note
            loop._broadcast_sigterm_tensor = lambda: None

    def _note(self, *_: Any) -> None:
        self._asked = True

    def _agree(self, trainer: Trainer) -> None:
        if trainer.world_size > 1 and trainer.strategy.reduce_boolean_decision(self._asked, all=False):
            trainer._signal_connector.received_sigterm = True  # which Lightning looks at next, in every process

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        """Agrees; Lightning moves the callback that saves checkpoints behind this one."""
        self._agree(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Agrees on what came during validation."""
        self._agree(trainer)

    def _begin(self, trainer: Trainer, batches: list[int | float]) -> None:
        if trainer.world_size > 1:
            signals = trainer._signal_connector
            # Lightning would stop after a batch that is not this process's last, and may be another's
            self._asked |= signals.received_sigterm
            signals.received_sigterm = False
            count = torch.tensor(sum(batches), device=trainer.strategy.root_device)
            self._common = int(trainer.strategy.reduce(count, reduce_op="min"))

    def _after(self, trainer: Trainer, batch_idx: int) -> None:
        if batch_idx + 1 < self._common and not trainer.sanity_checking:
            self._agree(trainer)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Finds out how many batches every process has."""
        self._begin(trainer, trainer.num_val_batches)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Likewise."""
        self._begin(trainer, trainer.num_test_batches)

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Likewise."""
        self._begin(trainer, trainer.num_predict_batches)

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int, *_: Any
    ) -> None:
        """Agrees."""
        self._after(trainer, batch_idx)

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int, *_: Any
    ) -> None:
        """Agrees."""
        self._after(trainer, batch_idx)

    def on_predict_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int, *_: Any
    ) -> None:
        """Agrees; `WritePredictions` stops, since the loop that predicts does not look."""
        self._after(trainer, batch_idx)
