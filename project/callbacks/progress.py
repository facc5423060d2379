"""Progress for people: a bar on a terminal, a line an epoch in a log file."""

from __future__ import annotations

import sys
import time
from typing import Any, Literal

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import TQDMProgressBar
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from tqdm import tqdm

ProgressStyle = Literal["auto", "bar", "lines", "none"]

_SHOWN = ("train/loss", "train/accuracy", "val/loss", "val/accuracy", "val/cider_d")


class Bar(TQDMProgressBar):
    """Lightning's bar with the run's epochs in it and without the version number."""

    def __init__(self) -> None:
        super().__init__(refresh_rate=10, leave=False)

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        """The latest loss and validation metrics."""
        results = getattr(pl_module, "results", {})
        shown = {name: f"{results[name]:.4f}" for name in _SHOWN if name in results and name.startswith("val/")}
        items = super().get_metrics(trainer, pl_module)
        return {name: value for name, value in items.items() if name != "v_num"} | shown


class EpochLines(Callback):
    """Prints one line after each epoch, with its time."""

    def __init__(self) -> None:
        self._started = 0.0
        self._pending: str | None = None

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Prints the epoch before, and starts the clock."""
        self._print(pl_module)
        self._started = time.monotonic()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Notes the epoch; the module records its training means only after this hook."""
        seconds = time.monotonic() - self._started
        of = f"/{trainer.max_epochs}" if trainer.max_epochs not in (-1, None) else ""
        self._pending = f"epoch {trainer.current_epoch + 1}{of}  {seconds:.1f} s"

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Prints the last epoch."""
        self._print(pl_module)

    @rank_zero_only
    def _print(self, pl_module: LightningModule) -> None:
        if self._pending:
            shown = [f"{name} {pl_module.results[name]:.4f}" for name in _SHOWN if name in pl_module.results]
            tqdm.write("  ".join([self._pending, *shown]))  # above a bar, where there is one
            self._pending = None


def progress_callbacks(style: ProgressStyle) -> list[Callback]:
    """The callbacks for a style; `auto` is a bar on a terminal and lines elsewhere. A bar leaves lines behind, too."""
    if style == "auto":
        style = "bar" if sys.stderr.isatty() else "lines"
    kinds = {"bar": (Bar, EpochLines), "lines": (EpochLines,), "none": ()}[style]
    return [kind() for kind in kinds]
