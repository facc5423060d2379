"""The random state in the checkpoint, so that a resumed run draws the numbers that the first would have drawn."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from project.errors import CheckpointError


class RandomState(Callback):
    """Saves the state of Python's, numpy's and torch's generators, of every process, and restores it.

    Lightning saves none of them. It is restored at the first batch, since setting up a run draws numbers too, and a
    run that is resumed in the middle of an epoch has no `on_train_epoch_start`; and before a validation that is run
    again, since checkpoints follow it.
    """

    def __init__(self) -> None:
        self._saved: dict[str, Any] | None = None

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Puts every process's state into the checkpoint."""
        states = [_current_state()]
        if trainer.world_size > 1:
            states = [{}] * trainer.world_size
            torch.distributed.all_gather_object(states, _current_state())
        checkpoint["random_state"] = states

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Keeps this process's state until the first batch; with another number of processes there is none."""
        states = checkpoint.get("random_state", [])
        if len(states) == trainer.world_size:
            self._saved = states[trainer.global_rank]

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Restores the state once."""
        self._restore_once()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Restores the state once."""
        self._restore_once()

    def _restore_once(self) -> None:
        if self._saved is not None:
            try:
                _restore(self._saved)
            except (TypeError, ValueError, KeyError, IndexError, OverflowError, RuntimeError) as error:
                raise CheckpointError(f"ckpt_path: its random state is damaged ({error}); use an earlier one") from None
            self._saved = None


def _current_state() -> dict[str, Any]:
    """Plain lists and tensors, so that the checkpoint opens with `weights_only=True`."""
    version, internal, gauss = random.getstate()
    numpy_state = np.random.get_state()
    assert isinstance(numpy_state, tuple), "the legacy form is the default"
    name, keys, position, has_gauss, cached = numpy_state
    state = {
        "python": [version, list(internal), gauss],
        "numpy": [name, keys.tolist(), position, has_gauss, cached],
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_initialized():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def _restore(state: dict[str, Any]) -> None:
    version, internal, gauss = state["python"]
    if not 0 <= state["numpy"][2] <= len(state["numpy"][1]):
        raise ValueError("numpy's position is out of range")  # numpy would read past the end
    random.setstate((version, tuple(internal), gauss))
    np.random.set_state(tuple(state["numpy"]))
    torch.set_rng_state(state["torch"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])
