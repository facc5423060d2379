"""What a run says of itself while it is under way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from project.callbacks.guard import stopped_by_guard
from project.redaction import hide_secrets
from project.runs.directory import RunDirectory
from project.runs.records import take_record
from project.runs.stored_paths import STARTED_IN, started_in
from project.runs.undeclared import callbacks_of, data_of
from project.text import print_lines, printable


class RunRecord(Callback):
    """Keeps `status.json` and `skipped_images.txt`, and puts the configuration into every checkpoint.

    Args:
        run: the run's directory; only the first process knows it before `setup`.
        config: the configuration, as plain types.
        begin: called in the first process before the first batch: what fails earlier leaves a resumed run as it was.
    """

    def __init__(
        self, run: RunDirectory | None, config: dict[str, Any], begin: Callable[[], None] | None = None
    ) -> None:
        self.run = run
        self._begin = begin
        self._has_begun = False
        self.config = hide_secrets(config)
        self._writes = False

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Tells the other processes where the first one writes, whatever launched them."""
        for callback in callbacks_of(trainer):
            if hasattr(callback, "run"):
                callback.run = trainer.strategy.broadcast(callback.run)
        self._writes = trainer.is_global_zero

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """A checkpoint knows how it was trained."""
        checkpoint["config"] = self.config
        if self.run is not None:
            checkpoint[STARTED_IN] = started_in(self.run.path)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Notes that the run is under way, behind all that may refuse it."""
        if self._has_begun:
            return
        self._has_begun = True
        if self._writes and self._begin is not None:
            self._begin()
        self._write_status("running")

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Lists the training files that could not be read so far."""
        skipped = set(map(printable, getattr(data_of(trainer), "skipped_images", [])))
        if trainer.world_size > 1:  # each reads its share
            all_skipped: list[Any] = [None] * trainer.world_size
            torch.distributed.all_gather_object(all_skipped, skipped)
            skipped = set().union(*all_skipped)
        if self._writes and skipped and self.run is not None:
            target = self.run.path / "skipped_images.txt"
            earlier = take_record(target, str.splitlines)  # of a resumed run, which may not have met them again
            if earlier is None:
                print_lines(f"skipped {len(skipped)} unreadable training images, listed in {target}")
            self.run.write_text(target.name, "\n".join(sorted(skipped.union(earlier or ()))) + "\n")

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Notes that training came to its end."""
        self._write_status("finished")

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Notes that it did not."""
        if trainer.state.fn == "fit" and self._has_begun:
            failed = isinstance(exception, Exception) or stopped_by_guard(trainer)
            self._write_status("failed" if failed else "interrupted")

    def _write_status(self, status: str) -> None:
        if self._writes and self.run is not None:
            self.run.write_status(status)
