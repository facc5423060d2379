"""Loggers that go on where an interrupted run stopped: neither a doubled nor a missing row."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.loggers import Logger, TensorBoardLogger
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from project.files import write_text
from project.runs.directory import RunDirectory
from project.text import printable


class MetricsCSV(Logger):
    """`metrics.csv`: one row a step, one column a metric, empty where a step has no such metric.

    Lightning's `CSVLogger` deletes the rows of an earlier start in the same directory. This one reads them, drops
    those after the step it resumes from, since they are about to be made again, and goes on.

    Args:
        directory: where the file lies.
        resume_step: the number of optimizer steps done so far; 0 for a new run.
    """

    def __init__(self, directory: Path, resume_step: int = 0) -> None:
        super().__init__()
        self.path = directory / "metrics.csv"
        self._rows: dict[int, dict[str, str]] = {}
        self._columns = ["epoch", "step"]
        if self.path.exists():
            with open(self.path, newline="") as file:
                reader = csv.DictReader(file)
                self._columns = list(reader.fieldnames or self._columns)
                # a step's row carries its number counted from zero, so after n steps the last row is n - 1
                self._rows = {int(row["step"]): dict(row) for row in reader if int(row["step"]) < resume_step}

    @property
    def name(self) -> str:
        """Lightning asks for it."""
        return "csv"

    @property
    def version(self) -> str:
        """Lightning asks for it."""
        return ""

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """They are in `config.yaml`."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Adds to the row of `step`."""
        row = self._rows.setdefault(step or 0, {"step": str(step or 0)})
        for name, value in metrics.items():
            name = printable(name)  # the csv module leaves a carriage return unquoted
            if name not in self._columns:
                self._columns.append(name)
            row[name] = str(int(value)) if name == "epoch" else repr(float(value))

    @rank_zero_only
    def save(self) -> None:
        """Writes the file in one step; rows are few, since a row is an epoch or every fiftieth step."""
        text = io.StringIO()
        writer = csv.DictWriter(text, self._columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(self._rows[step] for step in sorted(self._rows))
        write_text(self.path, text.getvalue())

    def finalize(self, status: str) -> None:
        """Called at the end, also of a failed run."""
        if self._rows:
            self.save()


def record_costs(trainer: Trainer, metrics: dict[str, float], step: int) -> None:
    """Shows what differs from run to run, as times do: to all loggers but `metrics.csv`, which a resumed run repeats."""
    for logger in trainer.loggers:
        if not isinstance(logger, MetricsCSV):
            logger.log_metrics({"epoch": trainer.current_epoch, **metrics}, step=step)


def standing_loggers(run: RunDirectory, resume_step: int = 0) -> list[Logger]:
    """TensorBoard and CSV, in the run's directory, going on after `resume_step` steps."""
    tensorboard = TensorBoardLogger(
        str(run.path.parent.parent),
        name=run.path.parent.name,
        version=run.path.name,
        default_hp_metric=False,
        purge_step=resume_step or None,
    )
    return [tensorboard, MetricsCSV(run.path, resume_step)]
