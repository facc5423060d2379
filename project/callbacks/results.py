"""What an evaluation found: `test_metrics.json` for programs to read, and TensorBoard for people."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from project.runs.directory import RunDirectory
from project.text import csv_table
from project.yaml_files import dump_json


class WriteResults(Callback):
    """Writes the metrics of `test` or `validate`, and what the task has beside them, into a run directory.

    What `test` found is shown in the run's TensorBoard, too, so that its table of runs has it.

    Args:
        run: where; processes but the first learn of it from `RunRecord`.
        steps: how many the network was trained for.
    """

    def __init__(self, run: RunDirectory | None, steps: int) -> None:
        self.run = run
        self.steps = steps

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Writes `test_metrics.json`, and shows the same."""
        self._write(trainer, pl_module, "test")
        if trainer.is_global_zero:
            task: Any = pl_module
            self._show(task.results)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Writes `validate_metrics.json`, for the command `validate` alone."""
        if trainer.state.fn == "validate":
            self._write(trainer, pl_module, "validate")

    def _show(self, results: dict[str, float]) -> None:
        from torch.utils.tensorboard import SummaryWriter

        assert self.run is not None, "`RunRecord` sets it"
        with SummaryWriter(str(self.run.path)) as writer:
            for name, value in results.items():
                if "/class_accuracy/" not in name:  # of a thousand classes a thousand curves of one point
                    writer.add_scalar(name, value, max(self.steps - 1, 0))

    def _write(self, trainer: Trainer, pl_module: Any, verb: str) -> None:
        if not trainer.is_global_zero:
            return
        assert self.run is not None, "`RunRecord` sets it"
        self.run.write_text(f"{verb}_metrics.json", dump_json(pl_module.results, indent=2) + "\n")
        for name, content in pl_module.result_files.items():
            self.run.write_text(f"{verb}_{name}.json", dump_json(content) + "\n")
        outcome = getattr(pl_module, "outcome", None)
        if outcome is not None and outcome.confusion is not None:
            names = pl_module.class_names
            rows = [[name, *row] for name, row in zip(names, outcome.confusion.tolist(), strict=True)]
            table = csv_table([["true \\ predicted", *names], *rows])
            self.run.write_text(f"{verb}_confusion.csv", table)
