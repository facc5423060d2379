"""MLflow and Weights & Biases for real, without a network: what lies there of a run that was killed and resumed."""

from __future__ import annotations

import csv
import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from lightning.pytorch import Callback

from project.callbacks.hyperparameters import flat_options
from project.errors import ConfigError
from project.runs import trackers
from project.runs.directory import RunDirectory
from project.runs.trackers import MLflow, WandB
from tests.forks import fork

CONFIGS = Path(__file__).parents[2] / "configs" / "trainer"


class StopAfter(Callback):
    """Asks to stop at the beginning of the next epoch."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def on_train_epoch_start(self, trainer, pl_module):
        if trainer.current_epoch > self.epoch:
            os.kill(os.getpid(), signal.SIGTERM)


class Fail(Callback):
    """Fails in the second epoch."""

    def on_train_epoch_start(self, trainer, pl_module):
        if trainer.current_epoch:
            raise ZeroDivisionError


@pytest.fixture
def client(tmp_path):
    """Of the data base in the root of the test's runs."""
    from mlflow.tracking import MlflowClient

    return MlflowClient(f"sqlite:///{tmp_path / 'runs' / 'mlflow.db'}")


def rows(path: Path, name: str) -> list[tuple[int, float]]:
    with open(path / "metrics.csv", newline="") as file:
        return [(int(row["step"]), float(row[name])) for row in csv.DictReader(file) if row[name]]


@pytest.mark.parametrize("text", ["", "half", "a/b\n", "a\nb\n", "x" * 65 + "\n"])
def test_run_id_that_is_damaged_is_set_aside(tmp_path, text):
    run = RunDirectory.create(tmp_path, "r")
    path = run.path / "wandb_run_id"
    tracker = WandB.__new__(WandB)
    path.write_text("abc-12_Z\n")
    assert trackers._remembered(run, tracker) == "abc-12_Z"
    path.write_text(text)
    assert trackers._remembered(run, tracker) is None
    assert path.with_name("wandb_run_id.damaged_1").read_text() == text


def stopped_at(epoch: int) -> list[str]:
    return ["--trainer.callbacks", json.dumps([{"class_path": f"{__name__}.StopAfter", "init_args": {"epoch": epoch}}])]


@pytest.mark.slow
def test_a_run_in_mlflow_goes_on_and_ends_as_it_did_here(run, images, fit_options, tmp_path, client):
    overlay = ("--config", CONFIGS / "mlflow.yaml", "--watch.pictures", 1)
    status = run(*fit_options(images, tmp_path / "runs", *overlay, *stopped_at(0)))
    assert status == 143
    path = tmp_path / "runs" / "r" / "version_0"
    run_id = (path / "mlflow_run_id").read_text().strip()
    found = client.get_run(run_id)
    assert found.info.status == "KILLED"
    assert found.data.tags["mlflow.runName"] == "r/version_0"
    assert client.get_experiment(found.info.experiment_id).name == "project"
    # resumed with another length, which MLflow would refuse to change
    again = ("fit", "--ckpt_path", path, "--trainer.callbacks", "null", "--trainer.max_epochs", 3)
    assert run(*again) == 2  # a checkpoint does not say where anything is sent
    assert run(*again, "--config", CONFIGS / "mlflow.yaml") == 0
    assert (path / "mlflow_run_id").read_text().strip() == run_id
    found = client.get_run(run_id)
    assert found.info.status == "FINISHED"
    for name in ("val/loss", "val/accuracy", "train/loss", "lr"):
        assert [(each.step, each.value) for each in client.get_metric_history(run_id, name)] == rows(path, name)
    first = yaml.safe_load((path / "config.before_resume_0.yaml").read_text())
    assert found.data.params == {name: str(value) for name, value in flat_options(first).items()}
    pictures = " ".join(each.path for each in client.list_artifacts(run_id, "images"))
    assert "images/figures-confusion" in pictures
    assert "images/images-training_batch" in pictures
    assert (tmp_path / "runs" / "mlflow").is_dir()


@pytest.mark.slow
def test_mlflow_has_test_metrics_and_a_deleted_run_is_one_line(
    run, fails, images, fit_options, tmp_path, client, capsys
):
    overlay = ("--config", CONFIGS / "mlflow.yaml")
    assert run(*fit_options(images, tmp_path / "runs", *overlay, *stopped_at(0))) == 143
    path = tmp_path / "runs" / "r" / "version_0"
    run_id = (path / "mlflow_run_id").read_text().strip()
    capsys.readouterr()
    assert run("test", "--ckpt_path", path) == 0
    assert "MLflow: not logged there; add --config configs/trainer/mlflow.yaml" in capsys.readouterr().out.splitlines()
    assert not any(name.startswith("test/") for name in client.get_run(run_id).data.metrics)
    assert run("test", "--ckpt_path", path, *overlay) == 0
    found = client.get_run(run_id)
    expected = json.loads((path / "test_metrics.json").read_text())
    shown = {name: value for name, value in expected.items() if "/" in name and "class_accuracy" not in name}
    assert {name: found.data.metrics[name] for name in shown} == shown
    assert found.info.status == "KILLED"  # as its training was
    client.delete_run(run_id)
    before = {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}
    for command in (("fit", "--trainer.callbacks", "null"), ("test",)):
        line = fails(*command, "--ckpt_path", path, *overlay)
        assert f"mlflow runs restore --run-id {run_id}" in line
        assert f"remove {path / 'mlflow_run_id'}" in line
    assert {file: file.read_bytes() for file in path.rglob("*") if file.is_file()} == before
    client.delete_experiment(found.info.experiment_id)
    line = fails(*fit_options(images, tmp_path / "runs", *overlay))
    assert "mlflow experiments restore --experiment-id" in line


@pytest.mark.slow
def test_a_run_that_fails_has_failed_in_mlflow(run, images, fit_options, tmp_path, client):
    fault = ["--trainer.callbacks", json.dumps([{"class_path": f"{__name__}.Fail"}])]
    with pytest.raises(ZeroDivisionError):
        run(*fit_options(images, tmp_path / "runs", "--config", CONFIGS / "mlflow.yaml", *fault))
    run_id = (tmp_path / "runs" / "r" / "version_0" / "mlflow_run_id").read_text().strip()
    assert client.get_run(run_id).info.status == "FAILED"


@pytest.mark.slow
def test_a_data_base_that_cannot_be_opened_is_one_line(fails, images, fit_options, tmp_path):
    (tmp_path / "notes").write_text("these are notes, and no data base, for more than a hundred characters" * 9)
    uri = f"sqlite:///{tmp_path / 'notes'}"
    overlay = ("--config", CONFIGS / "mlflow.yaml", "--trainer.logger.tracking_uri", uri)
    line = fails(*fit_options(images, tmp_path / "runs", *overlay))
    assert line.startswith(f"error: trainer.logger: {uri}: ")
    assert "not a database" in line


@pytest.mark.slow
def test_a_run_in_wandb_goes_on(run, images, fit_options, tmp_path):
    overlay = ("--config", CONFIGS / "wandb.yaml", "--trainer.logger.offline", "true", "--watch.pictures", 1)
    assert run(*fit_options(images, tmp_path / "runs", *overlay, *stopped_at(0))) == 143
    path = tmp_path / "runs" / "r" / "version_0"
    run_id = (path / "wandb_run_id").read_text().strip()
    assert run("fit", "--ckpt_path", path, "--trainer.callbacks", "null", *overlay) == 0
    parts = sorted(path.glob("wandb/offline-run-*"))
    assert [part.name.rpartition("-")[2] for part in parts] == [run_id, run_id]
    history, config, pictures, name = [], {}, set(), ""
    for part in parts:
        for record in whole(part / f"run-{run_id}.wandb"):
            if record.HasField("run"):
                name = record.run.display_name
            for item in record.history.item:
                key = item.key or ".".join(item.nested_key)
                history += [json.loads(item.value_json)] if key == "val/loss" else []
                if '"image' in item.value_json:
                    pictures.add(key.removesuffix("._type"))
            for item in record.config.update:
                config[item.key or ".".join(item.nested_key)] = json.loads(item.value_json)
    assert name == "r/version_0"
    assert history == [value for _, value in rows(path, "val/loss")]
    expected = flat_options(yaml.safe_load((path / "config.yaml").read_text()))
    assert {name: config.get(name) for name in expected} == expected
    assert "figures/confusion" in pictures
    assert run("test", "--ckpt_path", path, *overlay[:-2]) == 0
    (third,) = (part for part in path.glob("wandb/offline-run-*") if part not in parts)
    items = [item for record in whole(third / f"run-{run_id}.wandb") for item in record.history.item]
    found = {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in items}
    expected = json.loads((path / "test_metrics.json").read_text())
    assert found["test/accuracy"] == expected["test/accuracy"]


def whole(path: Path) -> list[Any]:
    """All of them; W&B's own process may still be writing when the run has ended."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        found = list(records(path))
        if any(record.HasField("exit") for record in found):
            return found
        time.sleep(0.1)
    raise AssertionError(f"{path} has no end")


def records(path: Path) -> Iterator[Any]:
    """What an offline run will send: records in blocks of 32 KiB, as LevelDB's log has them."""
    from wandb.proto.wandb_internal_pb2 import Record

    raw, place, parts = path.read_bytes(), 7, b""
    while place + 7 <= len(raw):
        left = 32768 - place % 32768
        if left < 7:
            place += left
            continue
        size, kind = int.from_bytes(raw[place + 4 : place + 6], "little"), raw[place + 6]
        parts += raw[place + 7 : place + 7 + size]
        place += 7 + size
        if kind in (1, 4):  # whole, or the last part
            yield Record.FromString(parts)
            parts = b""


def begin(root: Path, name: str) -> None:
    tracker = MLflow(tracking_uri=f"sqlite:///{root / 'mlflow.db'}")  # other tests' lies in the environment
    tracker.join(RunDirectory.create(root, name))
    assert tracker.experiment


@pytest.mark.slow
def test_runs_that_begin_at_once_share_the_tables_and_the_experiment(tmp_path):
    processes = [fork(begin, tmp_path / "runs", f"r{number}") for number in range(4)]
    for process in processes:
        process.join(100)
    assert [process.exitcode for process in processes] == [0] * 4
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{tmp_path / 'runs' / 'mlflow.db'}")
    (experiment,) = (found for found in client.search_experiments() if found.name == "project")
    assert len(client.search_runs([experiment.experiment_id])) == 4


@pytest.mark.parametrize(("kind", "library"), [(MLflow, "mlflow"), (WandB, "wandb")])
def test_a_missing_library_is_one_line(monkeypatch, kind, library):
    monkeypatch.setattr(trackers, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=rf"needs {library}; install it with pip install -e '\.\[{library}\]'"):
        kind()
