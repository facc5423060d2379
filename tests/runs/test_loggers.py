"""`metrics.csv` goes on where a run stopped: no row is doubled, none is missing."""

from __future__ import annotations

import csv
import warnings
from types import SimpleNamespace

import pytest
from lightning.pytorch.loggers import TensorBoardLogger

from project.runs.directory import RunDirectory
from project.runs.loggers import Events, MetricsCSV, read_metrics, record_costs, standing_loggers
from project.runs.records import DamagedFileError


def rows(directory) -> list[dict]:
    with open(directory / "metrics.csv", newline="") as file:
        return list(csv.DictReader(file))


def scalars(directory, name: str) -> list[tuple[int, float]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TensorBoard's protocol buffers
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    return [(event.step, event.value) for event in EventAccumulator(str(directory)).Reload().Scalars(name)]


def log(logger, steps) -> None:
    for step in steps:
        logger.log_metrics({"epoch": step // 4, "train/loss": 1 / (step + 1)}, step)


def test_one_row_a_step_with_the_union_of_columns(tmp_path):
    logger = MetricsCSV(RunDirectory(tmp_path))
    logger.log_metrics({"epoch": 0, "train/loss": 0.1}, 9)
    logger.log_metrics({"epoch": 0, "val/loss": 1 / 3}, 9)
    logger.log_metrics({"epoch": 1, "val/accuracy, top": 2}, 19)
    logger.save()
    assert rows(tmp_path) == [
        {"epoch": "0", "step": "9", "train/loss": "0.1", "val/loss": repr(1 / 3), "val/accuracy, top": ""},
        {"epoch": "1", "step": "19", "train/loss": "", "val/loss": "", "val/accuracy, top": "2.0"},
    ]


def test_numbers_are_written_in_full_precision(tmp_path):
    logger = MetricsCSV(RunDirectory(tmp_path))
    value = 0.1234567890123456789
    logger.log_metrics({"epoch": 0, "m": value, "nan": float("nan")}, 0)
    logger.finalize("success")
    assert float(rows(tmp_path)[0]["m"]) == value
    assert rows(tmp_path)[0]["nan"] == "nan"


@pytest.mark.parametrize("resumed_at", [0, 1, 5, 8, 20])
def test_resuming_keeps_earlier_rows_and_drops_later_ones(tmp_path, resumed_at):
    first = MetricsCSV(RunDirectory(tmp_path))
    log(first, range(8))
    first.finalize("failed")
    second = MetricsCSV(RunDirectory(tmp_path), resumed_at)
    log(second, range(resumed_at, 12))
    second.finalize("success")
    whole = MetricsCSV(RunDirectory(tmp_path / "whole"))
    (tmp_path / "whole").mkdir()
    log(whole, [*range(min(8, resumed_at)), *range(resumed_at, 12)])
    whole.finalize("success")
    assert rows(tmp_path) == rows(tmp_path / "whole")
    assert [int(row["step"]) for row in rows(tmp_path)] == [*range(min(8, resumed_at)), *range(resumed_at, 12)]


def test_a_resumed_run_without_new_rows_keeps_the_old_ones(tmp_path):
    first = MetricsCSV(RunDirectory(tmp_path))
    log(first, range(4))
    first.finalize("success")
    MetricsCSV(RunDirectory(tmp_path), 4).finalize("success")
    assert len(rows(tmp_path)) == 4


def test_a_column_that_comes_only_after_resuming_is_added(tmp_path):
    first = MetricsCSV(RunDirectory(tmp_path))
    log(first, range(2))
    first.save()
    second = MetricsCSV(RunDirectory(tmp_path), 2)
    second.log_metrics({"epoch": 0, "val/new": 1.5}, 2)
    second.save()
    assert [row["val/new"] for row in rows(tmp_path)] == ["", "", "1.5"]
    assert [row["train/loss"] for row in rows(tmp_path)] == ["1.0", "0.5", ""]


def test_nothing_logged_writes_no_file(tmp_path):
    MetricsCSV(RunDirectory(tmp_path)).finalize("failed")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_the_earlier_file(tmp_path, small_files_only):
    logger = MetricsCSV(RunDirectory(tmp_path))
    log(logger, range(3))
    logger.save()
    before = (tmp_path / "metrics.csv").read_bytes()
    log(logger, range(3, 50))
    with small_files_only(len(before)), pytest.raises(OSError, match="too large"):
        logger.save()
    assert (tmp_path / "metrics.csv").read_bytes() == before


def test_the_standing_loggers_write_into_the_run(tmp_path):
    run = RunDirectory.create(tmp_path, "r")
    tensorboard, table = standing_loggers(run)
    for logger in (tensorboard, table):
        logger.log_metrics({"epoch": 0, "val/loss": 1.0}, 0)
        logger.save()
        logger.finalize("success")
    assert (run.path / "metrics.csv").is_file()
    assert list(run.path.glob("events.out.tfevents.*"))
    assert sorted(path.name for path in (tmp_path / "r").iterdir()) == ["version_0"]


@pytest.mark.parametrize(
    "text",
    [
        "", "epoch,step,m\n0,0,1", "epoch,step,m\n0,0,1\n0,1\n", "epoch,step,m\n0,0,1,2\n", "epoch,step,m\n0,0.5,1\n",
        "epoch,step,m\n0,-1,1\n", "epoch,step,m\n0,0,x\n", "epoch,step,m\n0,0,1\n0,0,2\n", "step,m\n0,1\n",
        "epoch,step,m,m\n0,0,1,2\n", 'epoch,step,m\n0,0,"1\n', f"epoch,step,m\n0,0,{'1' * 200_000}\n",
    ],
)  # fmt: skip
def test_metrics_csv_of_a_damaged_file_begins_anew_and_keeps_the_other(tmp_path, text):
    (tmp_path / "metrics.csv").write_text(text)
    with pytest.raises(DamagedFileError):
        read_metrics(RunDirectory(tmp_path))
    logger = MetricsCSV(RunDirectory(tmp_path), resume_step=5)
    log(logger, range(5, 7))
    logger.save()
    assert (tmp_path / "metrics.csv.damaged_1").read_text() == text
    assert [int(row["step"]) for row in rows(tmp_path)] == [5, 6]


def test_events_after_the_directory_was_renamed_are_in_the_new_one(tmp_path):
    run = RunDirectory.create(tmp_path, "r")
    events = Events(run)
    with run.held(alone=True):
        events.log_metrics({"a": 1.0}, 0)
        events.save()
        moved = run.path.rename(tmp_path / "mine")
        events.log_metrics({"a": 2.0}, 1)  # before anything has noticed
        events.save()
        assert run.check_present()
        events.log_metrics({"a": 3.0}, 2)
        events.finalize("success")
    assert scalars(moved, "a") == [(0, 1.0), (1, 2.0)]
    assert scalars(run.path, "a") == [(2, 3.0)]
    assert not list(tmp_path.rglob("hparams.yaml"))


def test_events_of_a_directory_with_a_variable_in_its_name_lie_there(tmp_path, monkeypatch):
    monkeypatch.setenv("ELSEWHERE", str(tmp_path / "elsewhere"))
    run = RunDirectory.create(tmp_path / "$ELSEWHERE", "r")
    events = Events(run)
    events.log_metrics({"a": 1.0}, 0)
    events.finalize("success")
    assert scalars(run.path, "a") == [(0, 1.0)]
    assert not (tmp_path / "elsewhere").exists()


def test_costs_are_shown_and_not_kept(tmp_path):
    table = MetricsCSV(RunDirectory(tmp_path))
    other = TensorBoardLogger(str(tmp_path / "t"), name="", version="")
    record_costs(SimpleNamespace(loggers=[table, other], current_epoch=2), {"speed/waiting": 0.25}, 7)
    for logger in (table, other):
        logger.finalize("success")
    assert not (tmp_path / "metrics.csv").exists()
    assert scalars(tmp_path / "t", "speed/waiting") == [(7, 0.25)]
    assert scalars(tmp_path / "t", "epoch") == [(7, 2.0)]
