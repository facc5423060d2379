"""Early stopping that a resumed run goes on with."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping
from torch import Tensor

from project.runs.schema import check_like


class StopEarly(EarlyStopping):
    """Lightning's, but for resuming: the patience is the one that is asked for now, and a decision to stop holds.

    Lightning takes the patience of the checkpoint, and trains one epoch more where the run was killed between the decision
    and its end.
    """

    @property
    def state_key(self) -> str:
        """Lightning's own, so that the state of either is the other's."""
        return super().state_key.replace(type(self).__qualname__, EarlyStopping.__qualname__, 1)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes back how long nothing was better."""
        check_like(state_dict, {"wait_count": 0, "stopped_epoch": 0}, "early_stopping")
        if not isinstance(state_dict["best_score"], Tensor):
            raise ValueError("its best score is no tensor")
        super().load_state_dict({**state_dict, "patience": self.patience})

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stops at once where that was decided."""
        trainer.should_stop = trainer.should_stop or 0 < self.wait_count >= self.patience
