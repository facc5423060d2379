"""Where the time of a few steps goes, operation by operation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from torch.profiler import profile, schedule

_WAIT, _WARM_UP, _STEPS = 10, 2, 5


class Trace(Callback):
    """Writes `trace.json` into the run's directory: five training steps after the first twelve, in the first process.

    https://ui.perfetto.dev opens it, and so does Chrome at `chrome://tracing`.
    """

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begins to count steps."""
        target = Path(trainer.log_dir or trainer.default_root_dir, "trace.json")
        self._profile = profile(
            schedule=schedule(wait=_WAIT, warmup=_WARM_UP, active=_STEPS, repeat=1),
            on_trace_ready=lambda done: done.export_chrome_trace(str(target)),
        )
        if trainer.is_global_zero:
            self._profile.start()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Counts one, and writes after the last."""
        if trainer.is_global_zero:
            self._profile.step()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stops; a run of less than those steps leaves no file."""
        if trainer.is_global_zero:
            self._profile.stop()
