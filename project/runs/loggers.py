"""Loggers that go on where an interrupted run stopped: neither a doubled nor a missing row."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lightning.pytorch import Trainer
from lightning.pytorch.loggers import Logger, TensorBoardLogger
from lightning.pytorch.loggers.logger import rank_zero_experiment
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from project.runs.directory import RunDirectory
from project.runs.records import read_record, take_record
from project.text import printable

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

_METRICS = "metrics.csv"
_LARGEST = 2**30  # bytes


class MetricsCSV(Logger):
    """`metrics.csv`: one row a step, one column a metric, empty where a step has no such metric.

    Lightning's `CSVLogger` deletes the rows of an earlier start in the same directory. This one reads them, drops
    those after the step it resumes from, since they are about to be made again, and goes on.

    Args:
        run: in whose directory the file lies.
        resume_step: the number of optimizer steps done so far; 0 for a new run.
    """

    def __init__(self, run: RunDirectory, resume_step: int = 0) -> None:
        super().__init__()
        self.run = run
        earlier = take_record(run.path / _METRICS, _parse_metrics, _LARGEST)
        self._columns, rows = earlier or (["epoch", "step"], {})
        # a step's row carries its number counted from zero, so after n steps the last row is n - 1
        self._rows = {step: row for step, row in rows.items() if step < resume_step}

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
        """Writes the file in one step; rows are few, since a row is an epoch or every fiftieth step.

        Without any there is no file, as in a run that is refused before its first batch.
        """
        if not self._rows:
            return
        text = io.StringIO()
        writer = csv.DictWriter(text, self._columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(self._rows[step] for step in sorted(self._rows))
        self.run.write_text(_METRICS, text.getvalue())

    def finalize(self, status: str) -> None:
        """Called at the end, also of a failed run."""
        self.save()


def read_metrics(run: RunDirectory) -> dict[int, dict[str, str]]:
    """The rows of a run's `metrics.csv` by their step; none where there is no file.

    Raises:
        DamagedFileError: it is damaged.
    """
    _, rows = read_record(run.path / _METRICS, _parse_metrics, _LARGEST) or ([], {})
    return rows


def _parse_metrics(text: str) -> tuple[list[str], dict[int, dict[str, str]]]:
    """The columns, and the row of each step."""
    if not text.endswith("\n"):
        raise ValueError("cut off")
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    columns, rows = list(reader.fieldnames or ()), {}
    if len({"epoch", "step", *columns}) != len(columns):
        raise ValueError("other columns than epoch, step and metrics")
    for row in reader:
        step = int(row["step"])
        if step < 0 or step in rows or len(row) != len(columns) or None in row.values():
            raise ValueError(f"line {reader.line_num} is no row of a step")
        for value in filter(None, row.values()):
            float(value)
        rows[step] = row
    return columns, rows


class Events(TensorBoardLogger):
    """TensorBoard's events, in the run's directory, also after it was removed or renamed.

    Args:
        run: in whose directory they lie.
        resume_step: events after so many steps are no longer shown; 0 for a new run.
    """

    def __init__(self, run: RunDirectory, resume_step: int = 0) -> None:
        super().__init__(
            str(run.path.parent.parent),
            name=run.path.parent.name,
            version=run.path.name,
            default_hp_metric=False,
            purge_step=resume_step or None,
        )
        self.run = run
        self._moves = 0

    @property
    def log_dir(self) -> str:
        """The run's directory as it is, whereas Lightning expands `~` and `$` in it."""
        return str(self.run.path)

    @property
    @rank_zero_experiment
    def experiment(self) -> SummaryWriter:
        """The writer; another one where the run goes on in another directory."""
        if self._experiment is not None and self._moves != self.run.moves:
            self._experiment.close()
            self._experiment = None
        if self._experiment is None:
            from torch.utils.tensorboard import SummaryWriter

            self._moves = self.run.moves
            self._experiment = SummaryWriter(self.log_dir, **self._kwargs)
            _keep_open(self._experiment)
        return self._experiment

    @rank_zero_only
    def save(self) -> None:
        """Writes what is waiting; Lightning's would write an `hparams.yaml`, too."""
        if self._experiment is not None:
            self._experiment.flush()


def _keep_open(writer: SummaryWriter) -> None:
    """Has a writer hold its file open: TensorBoard opens it by its name for each event, which fails once it is renamed."""
    events: Any = writer.file_writer
    events = events.event_writer
    events.flush()
    events._async_writer._writer._writer = open(events._file_name, "ab", buffering=0)  # noqa: SIM115  the writer closes it


def record_costs(trainer: Trainer, metrics: dict[str, float], step: int) -> None:
    """Shows what differs from run to run, as times do: to all loggers but `metrics.csv`, which a resumed run repeats."""
    for logger in trainer.loggers:
        if not isinstance(logger, MetricsCSV):
            logger.log_metrics({"epoch": trainer.current_epoch, **metrics}, step=step)


def standing_loggers(run: RunDirectory, resume_step: int = 0) -> list[Logger]:
    """TensorBoard and CSV, in the run's directory, going on after `resume_step` steps."""
    return [Events(run, resume_step), MetricsCSV(run, resume_step)]
