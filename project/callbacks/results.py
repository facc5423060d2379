"""`test_metrics.json` and `validate_metrics.json`: what an evaluation found, for programs to read."""

from __future__ import annotations

import csv
import io
import json

from lightning.pytorch import Callback, LightningModule, Trainer

from project.runs.directory import RunDirectory, write_atomically


class WriteResults(Callback):
    """Writes the metrics of `test` or `validate`, and the confusion matrix as a table, into a run directory.

    Args:
        run: where.
    """

    def __init__(self, run: RunDirectory) -> None:
        self.run = run

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Writes `test_metrics.json`."""
        self._write(trainer, pl_module, "test")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Writes `validate_metrics.json`, for the command `validate` alone."""
        if trainer.state.fn == "validate":
            self._write(trainer, pl_module, "validate")

    def _write(self, trainer: Trainer, pl_module: LightningModule, verb: str) -> None:
        if not trainer.is_global_zero:
            return
        write_atomically(self.run.path / f"{verb}_metrics.json", json.dumps(pl_module.results, indent=2) + "\n")
        outcome = getattr(pl_module, "outcome", None)
        if outcome is not None and outcome.confusion is not None:
            text = io.StringIO()
            writer = csv.writer(text, lineterminator="\n")
            writer.writerow(["true \\ predicted", *pl_module.class_names])
            writer.writerows(
                [name, *row] for name, row in zip(pl_module.class_names, outcome.confusion.tolist(), strict=True)
            )
            write_atomically(self.run.path / f"{verb}_confusion.csv", text.getvalue())
