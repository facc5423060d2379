"""What an evaluation found: `test_metrics.json` for programs to read, and TensorBoard for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from project.runs.directory import RunDirectory
from project.runs.results import metrics_text, replace_results, results_path
from project.runs.trackers import MLflow, Tracker, WandB
from project.text import csv_table, print_lines
from project.yaml_files import dump_json


class WriteResults(Callback):
    """Writes the metrics of `test` or `validate`, and what the task has beside them, into a run directory.

    The results of each checkpoint have files of their own, see `results_path`. What `test` found is shown in the run's
    TensorBoard, too, so that its table of runs has it, and in the trackers.

    Args:
        run: where; processes but the first learn of it from `RunRecord`.
        steps: how many the network was trained for.
        checkpoint: what is measured; None stands for pretrained weights.
        trackers: where else the metrics of `test` are logged; in the first process alone.
    """

    def __init__(
        self, run: RunDirectory | None, steps: int, checkpoint: str | None = None, trackers: Sequence[Tracker] = ()
    ) -> None:
        self.run = run
        self.steps = steps
        self.checkpoint = checkpoint
        self.trackers = trackers

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
        # of a thousand classes a thousand curves of one point
        shown = {name: value for name, value in results.items() if "/class_accuracy/" not in name}
        with SummaryWriter(str(self.run.path)) as writer:
            for name, value in shown.items():
                writer.add_scalar(name, value, max(self.steps - 1, 0))
        for tracker in self.trackers:
            tracker.log_results(shown, max(self.steps - 1, 0))
        for kind in (MLflow, WandB):
            name = kind.__name__.lower()
            tracked = (self.run.path / f"{name}_run_id").is_file()
            if tracked and not any(isinstance(tracker, kind) for tracker in self.trackers):
                print_lines(f"{kind.__name__}: not logged there; add --config configs/trainer/{name}.yaml")

    def _write(self, trainer: Trainer, pl_module: Any, verb: str) -> None:
        if not trainer.is_global_zero:
            return
        assert self.run is not None, "`RunRecord` sets it"
        text = metrics_text(pl_module.results, self.checkpoint, str(trainer.precision))
        replace_results(self.run, results_path(self.run, verb, "metrics.json", self.checkpoint), text)
        for name, content in pl_module.result_files.items():
            path = results_path(self.run, verb, f"{name}.json", self.checkpoint)
            replace_results(self.run, path, dump_json(content) + "\n")
        outcome = getattr(pl_module, "outcome", None)
        if outcome is not None and outcome.confusion is not None:
            names = pl_module.class_names
            rows = [[name, *row] for name, row in zip(names, outcome.confusion.tolist(), strict=True)]
            table = csv_table([["true \\ predicted", *names], *rows])
            replace_results(self.run, results_path(self.run, verb, "confusion.csv", self.checkpoint), table)
