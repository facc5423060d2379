"""`best.ckpt` and `last.ckpt`: what a run leaves behind, also when it is stopped."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.utilities.exceptions import SIGTERMException
from lightning.pytorch.utilities.rank_zero import rank_zero_info

from project.errors import ConfigError, did_you_mean
from project.runs.checkpoints import AtomicCheckpointIO, read_checkpoint
from project.runs.directory import RunDirectory
from project.runs.schema import Schema

_CLOCK_STEPS = 20  # batches between looks at the clock, which processes must agree on


@dataclass(frozen=True)
class CheckpointOptions:
    """Which checkpoints a run keeps.

    Args:
        monitor: the metric whose best value `best.ckpt` has; by default the task's own.
        mode: whether more or less of it is better; by default as it is known of this project's metrics, and more of others.
        recovery_minutes: `last.ckpt` is also written in mid-epoch when the last one is older than this.
    """

    monitor: str | None = None
    mode: Literal["min", "max"] | None = None
    recovery_minutes: float = 10.0


class SaveCheckpoints(Checkpoint):
    """Keeps the best and the newest state of a run.

    `best.ckpt` is written after a validation whose monitored metric no earlier one exceeds. `last.ckpt` is the
    newest state that training can go on from: it is written after every epoch, in mid-epoch by the clock, when a signal
    stops the run, and when a loader fails. Other exceptions touch neither, since the state may be what raised them.

    Args:
        run: the run's directory; processes but the first learn of it from `RunRecord`.
        options: see `CheckpointOptions`; `monitor` and `mode` filled in.
    """

    def __init__(self, run: RunDirectory | None, options: CheckpointOptions) -> None:
        self.run = run
        self.monitor, self.mode = options.monitor, options.mode
        self.recovery_seconds = 60 * options.recovery_minutes
        self.best_value: float | None = None
        self.best_step = -1
        self._moves = 0
        self._saved_at = time.monotonic()
        self._saved_step: int | None = None
        self._restart_validation = False
        self._stopping = False

    # ---- when

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Has a run of so many steps resumed like any other.

        With `max_steps` Lightning takes a whole epoch for one that was broken off, and ends it a second time.
        """
        loop: Any = trainer.fit_loop
        loop._iteration_based_training = lambda: False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Starts the clock of the recovery checkpoint; from here on there is something new to save."""
        self._saved_at = time.monotonic()
        self._saved_step = trainer.global_step

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Saves in mid-epoch, when it is time or a signal asks to stop."""
        done = batch_idx + 1
        since_validation = done if trainer.check_val_every_n_epoch else trainer.fit_loop.epoch_loop.total_batch_idx + 1
        signals = trainer._signal_connector
        self._stopping |= signals.received_sigterm  # of several processes, which `StopTogether` has agree, all or none
        inside = self._inside_update(trainer)
        # inside of accumulated batches Lightning would stop, too, and lose the gradients so far
        signals.received_sigterm = self._stopping and not inside
        # Lightning resumes from here with the next batch: it would leave out a validation that is due now, the end of
        # the epoch, or the rest of an accumulated step
        if done >= trainer.num_training_batches or (
            trainer.val_check_batch not in (None, float("inf")) and since_validation % trainer.val_check_batch == 0
        ):
            return
        if inside:
            return
        if self._stopping:
            self._save_last(trainer)
            raise SIGTERMException
        if done % _CLOCK_STEPS == 0:
            due = time.monotonic() - self._saved_at > self.recovery_seconds
            if trainer.strategy.broadcast(due):
                self._save_last(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Saves the best, and the last where a signal came during validation."""
        if trainer.sanity_checking or trainer.state.fn != "fit":
            return
        assert self.monitor is not None, "filled in"
        metric = trainer.callback_metrics.get(self.monitor)
        if metric is None:
            known = [name for name in trainer.callback_metrics if name.startswith("val/")]
            raise ConfigError(f"checkpoint.monitor: no metric '{self.monitor}'; {did_you_mean(self.monitor, known)}")
        value = float(metric)
        if math.isnan(value):
            return
        # of equal values the later: its learning rate was lower, and small sets have many ties
        if self.best_value is None or (value >= self.best_value if self.mode == "max" else value <= self.best_value):
            earlier = self.best_value, self.best_step
            self.best_value, self.best_step = value, trainer.global_step  # which the checkpoint holds, too
            if self._save(trainer, "best"):
                self._export(trainer, pl_module)
            else:
                self.best_value, self.best_step = earlier

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Saves the last; Lightning calls this after the module's own `on_train_epoch_end`."""
        self._save_last(trainer)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Saves the last if a signal stopped the run between two batches or during validation, or a loader failed."""
        if self._saved_step is None or not (
            isinstance(exception, SIGTERMException) or self._failed_between_batches(trainer, exception)
        ):
            return
        # of two faults the first is the one to be told
        with nullcontext() if isinstance(exception, SIGTERMException) else suppress(OSError):
            if trainer.validating and self._inside_update(trainer):
                return  # no checkpoint has the gradients so far: the earlier one is exact
            if trainer.validating:
                self._restart_validation = True
                self._save(trainer, "last")
            elif self._saved_step != trainer.global_step:
                self._save_last(trainer)

    @staticmethod
    def _inside_update(trainer: Trainer) -> bool:
        """Whether some batches of an update are behind it, and some are to come."""
        done = trainer.fit_loop.epoch_loop.batch_progress.current.ready
        return done % trainer.accumulate_grad_batches != 0 and done < trainer.num_training_batches

    def _failed_between_batches(self, trainer: Trainer, exception: BaseException) -> bool:
        """Whether an exception found whole batches behind it and the next one not begun: whoever reads it raised it."""
        if trainer.world_size > 1 or not isinstance(exception, Exception) or isinstance(exception, FloatingPointError):
            return False  # saving takes all processes; a loss that is no number is in the state
        loop = trainer.fit_loop.epoch_loop
        done = loop.batch_progress.current.completed
        if trainer.validating:
            progress = loop.val_loop.batch_progress.current
            return progress.ready == progress.completed
        return (
            loop.batch_progress.current.ready == done < trainer.num_training_batches
            and done % trainer.accumulate_grad_batches == 0
        )

    # ---- how

    def _save_last(self, trainer: Trainer) -> None:
        self._saved_at = time.monotonic()
        if self._save(trainer, "last"):
            self._saved_step = trainer.global_step

    def _save(self, trainer: Trainer, which: Literal["best", "last"]) -> bool:
        """Whether it could be written; all processes save, or none."""
        assert self.run is not None, "`RunRecord` sets it"
        self.run.check_present()
        moves, self.run.path = trainer.strategy.broadcast((self.run.moves, self.run.path))
        if moves != self._moves and which == "last":
            self.best_value = None  # the best checkpoint was in the earlier directory: the next one is the best here
        self._moves = moves
        path = self.run.checkpoints / f"{which}.ckpt"
        logged = written = False
        with _keeping(path):
            for logger in trainer.loggers:
                logger.save()  # what the checkpoint assumes to be logged is logged
            logged = True
        if trainer.strategy.broadcast(logged):
            with _keeping(path, trainer.strategy.barrier):
                trainer.save_checkpoint(path, weights_only=False)
                written = True
        return trainer.strategy.broadcast(written)

    def _export(self, trainer: Trainer, pl_module: Any) -> None:
        """What the task makes of its best checkpoint, beside it."""
        if hasattr(pl_module, "exports") and trainer.is_global_zero and self.run is not None:
            exports = pl_module.exports(read_checkpoint(self.run.checkpoints / "best.ckpt"))
            for name, content in exports.items():
                with _keeping(self.run.checkpoints / name) as path:
                    AtomicCheckpointIO().save_checkpoint(content, path)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """A validation that was broken off is run again from its start: its metrics are not in the checkpoint."""
        if self._restart_validation:
            progress = checkpoint["loops"]["fit_loop"]["epoch_loop.val_loop.batch_progress"]
            # what Lightning takes for "stopped in the first batch"
            progress["total"].update(ready=1, started=1, processed=0, completed=0)
            progress["current"].update(ready=0, started=0, processed=0, completed=0)
            progress["is_last_batch"] = False

    def state_dict(self) -> dict[str, Any]:
        """The best value so far, so that a resumed run does not forget it."""
        return {"monitor": self.monitor, "best_value": self.best_value, "best_step": self.best_step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes it back."""
        self.best_value = Schema().value(state_dict["best_value"], float | None, "best_value")
        self.best_step = Schema().value(state_dict["best_step"], int, "best_step")


@contextmanager
def _keeping(path: Path, meet: Callable[[], object] = lambda: None) -> Iterator[Path]:
    """Inside it `path` is written; where that fails and there is an earlier one, which is whole, that one stays.

    Args:
        path: the file.
        meet: what the other processes wait for at the end of writing.
    """
    try:
        yield path
    except OSError as error:
        if not path.exists():  # else the next save may find room
            raise
        rank_zero_info(f"{path} could not be written ({error.strerror}); the earlier one is kept")
        meet()
