"""The options of a run, for TensorBoard's table of runs and for other loggers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger

from project.callbacks.checkpointing import SaveCheckpoints
from project.callbacks.pictures import latest_step, summary_writer
from project.redaction import hide_secrets
from project.runs.undeclared import callbacks_of
from project.text import printable

_TRAINER = (
    "max_epochs",
    "max_steps",
    "precision",
    "accumulate_grad_batches",
    "gradient_clip_val",
    "limit_train_batches",
)
_SECTIONS = ("model", "data", "ema", "lookahead", "early_stopping")


class Hyperparameters(Callback):
    """Gives TensorBoard the options when training starts: a run that is killed is in the table with its latest metrics.

    The table's metrics are the run's scalars, each with its latest value, and `best/...`, the monitored one's best.

    Args:
        config: the configuration, as plain types.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = hide_secrets(config)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Writes the options, and begins the run with all that track it elsewhere."""
        self._write(trainer, 1)
        for logger in trainer.loggers:
            if not isinstance(logger, TensorBoardLogger):  # whose table cannot have more later
                logger.log_hyperparams(flat_options(self.config))

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Writes the best value so far; the checkpoint of this epoch's validation is saved by now."""
        saver = next((c for c in callbacks_of(trainer) if isinstance(c, SaveCheckpoints)), None)
        writer = summary_writer(trainer)
        if saver is not None and saver.best_value is not None and writer is not None:
            writer.add_scalar(f"best/{saver.monitor}", saver.best_value, latest_step(trainer))

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Notes that the run came to its end."""
        self._write(trainer, 2)

    def _write(self, trainer: Trainer, part: int) -> None:
        """Writes the start (1) or the end (2) of what the table calls a session.

        Not the first part, which would say which options and metrics there are: TensorBoard takes the first run's for
        all, and other tasks have others. Without it, it looks for them itself.
        """
        if (writer := summary_writer(trainer)) is not None:
            from torch.utils.tensorboard.summary import hparams

            file_writer: Any = writer.file_writer
            file_writer.add_summary(hparams(flat_options(self.config), {})[part])


def flat_options(config: dict[str, Any]) -> dict[str, Any]:
    """The options that say how a run trains, `{"model": "Classifier", "model.optimizer.lr": 0.1, ...}`.

    Numbers, words and switches; without lists, and without those that are not set.
    """
    chosen = {name: config.get(name) for name in ("seed", *_SECTIONS)}
    chosen["trainer"] = {name: config["trainer"].get(name) for name in _TRAINER}
    return dict(_flat("", chosen))


def _flat(prefix: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        if "class_path" in value:
            yield prefix, value["class_path"].rpartition(".")[2]
            value = value.get("init_args") or {}
        for name, inner in value.items():
            yield from _flat(f"{prefix}.{name}" if prefix else name, inner)
    elif isinstance(value, (bool, int, float, str)):
        yield prefix, printable(value) if isinstance(value, str) else value  # trackers refuse surrogates
