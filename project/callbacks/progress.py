"""Progress for people: a bar on a terminal, a line an epoch in a log file."""

from __future__ import annotations

import math
import sys
import time
from typing import Any, Literal

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TaskID, TextColumn

from project.text import print_lines

ProgressStyle = Literal["auto", "bar", "lines", "none"]

_SHOWN = ("train/loss", "train/accuracy", "val/loss", "val/accuracy", "val/cider_d")


class Bar(ProgressBar):
    """The epoch's batches, its time and the run's latest metrics on stderr; it vanishes with its work.

    Lightning's own rich bar writes to stdout, and takes what a run prints there with it.
    """

    def __init__(self) -> None:
        super().__init__()
        self._enabled = True
        self._progress: Progress | None = None
        self._bars: dict[str, TaskID] = {}

    def disable(self) -> None:
        """Lightning asks it of all processes but the first."""
        self._enabled = False

    def enable(self) -> None:
        """Undoes it."""
        self._enabled = True

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The rest of an epoch that was broken off, whose start Lightning does not announce again."""
        if done := trainer.fit_loop.epoch_loop.batch_progress.current.completed:
            self._begin("train", _epoch(trainer), self.total_train_batches, done)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """A new epoch."""
        self._begin("train", _epoch(trainer), self.total_train_batches)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        """One batch on, and now and then the loss."""
        self._advance("train", trainer, pl_module)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """A bar below the epoch's."""
        if not trainer.sanity_checking:
            self._begin("val", "validating", sum(trainer.num_val_batches))

    def on_validation_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        """One batch on."""
        self._advance("val", trainer, pl_module)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """It vanishes."""
        self._end("val")

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """A bar of its own."""
        self._begin("test", "testing", sum(trainer.num_test_batches))

    def on_test_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        """One batch on."""
        self._advance("test", trainer, pl_module)

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """A bar of its own."""
        self._begin("predict", "predicting", sum(trainer.num_predict_batches))

    def on_predict_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        """One batch on."""
        self._advance("predict", trainer, pl_module)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Leaves the terminal as it was."""
        self._stop()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Likewise, before the message."""
        self._stop()

    def _begin(self, name: str, what: str, total: float, done: int = 0) -> None:
        if not self._enabled:
            return
        if self._progress is None:
            columns = (*Progress.get_default_columns(), MofNCompleteColumn(), TextColumn("{task.fields[metrics]}"))
            self._progress = Progress(
                *columns,
                console=Console(stderr=True, force_terminal=True),
                transient=True,
                redirect_stdout=sys.stdout.isatty(),  # else what is printed goes to its file
            )
            self._progress.start()
        self._end(name)
        length = None if math.isinf(total) else int(total)
        self._bars[name] = self._progress.add_task(what, total=length, completed=done, metrics="")

    def _advance(self, name: str, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._progress is None or name not in self._bars:
            return
        bar = self._bars[name]
        self._progress.advance(bar)
        if self._progress.tasks[self._progress.task_ids.index(bar)].completed % 10 == 1:
            self._progress.update(bar, metrics=self._metrics(trainer, pl_module))

    def _metrics(self, trainer: Trainer, pl_module: LightningModule) -> str:
        """The latest loss and validation metrics."""
        results = getattr(pl_module, "results", {})
        shown = {name: f"{results[name]:.4f}" for name in _SHOWN if name in results and name.startswith("val/")}
        shown = {**{name: f"{value:.4f}" for name, value in trainer.progress_bar_metrics.items()}, **shown}
        return "  ".join(f"{name} {value}" for name, value in shown.items())

    def _end(self, name: str) -> None:
        if self._progress is not None and name in self._bars:
            self._progress.remove_task(self._bars.pop(name))

    def _stop(self) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None
            self._bars.clear()


def _epoch(trainer: Trainer) -> str:
    of = f"/{trainer.max_epochs}" if trainer.max_epochs not in (-1, None) else ""
    return f"epoch {trainer.current_epoch + 1}{of}"


class EpochLines(Callback):
    """Prints one line after each epoch, with its time."""

    def __init__(self) -> None:
        self._started = 0.0
        self._pending: str | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Starts the clock: an epoch that was broken off goes on without a start of its own."""
        self._started = time.monotonic()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Prints the epoch before, and starts the clock."""
        self._print(pl_module)
        self._started = time.monotonic()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Notes the epoch; the module records its training means only after this hook."""
        seconds = time.monotonic() - self._started
        self._pending = f"{_epoch(trainer)}  {seconds:.1f} s"

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Prints the last epoch."""
        self._print(pl_module)

    @rank_zero_only
    def _print(self, pl_module: Any) -> None:
        if self._pending:
            shown = [f"{name} {pl_module.results[name]:.4f}" for name in _SHOWN if name in pl_module.results]
            print_lines("  ".join([self._pending, *shown]))  # above a bar, where there is one
            self._pending = None


def progress_callbacks(style: ProgressStyle) -> list[Callback]:
    """The callbacks for a style; `auto` is a bar on a terminal and lines elsewhere. A bar leaves lines behind, too."""
    if style == "auto":
        style = "bar" if sys.stderr.isatty() else "lines"
    kinds = {"bar": (Bar, EpochLines), "lines": (EpochLines,), "none": ()}[style]
    return [kind() for kind in kinds]
