"""Checkpoints that an earlier version wrote (`freeze.py`) open: they measure the same, predict, and train on."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest
import torch

from project.runs.checkpoints import SCHEMA, read_checkpoint
from project.tasks import Task
from tests.system import freeze

TASKS = ("Classifier", "Captioner", "Distiller", "CaptionDistiller")
PLAIN = ("--trainer.precision", "32-true", "--trainer.accelerator", "cpu", "--trainer.devices", 1)


@pytest.fixture
def thawed(tmp_path, monkeypatch):
    """The frozen runs, in a folder with their data, which this runs in; returns a task's."""
    monkeypatch.chdir(tmp_path)
    freeze.make_data()
    for task in TASKS:
        shutil.copytree(freeze.FROZEN / task, tmp_path / "runs" / task / "version_0")
        (tmp_path / "runs" / task / "version_0" / "checkpoints" / "best.ckpt").symlink_to("last.ckpt")
    return lambda task: tmp_path / "runs" / task / "version_0"


@pytest.mark.parametrize("task", TASKS)
def test_it_is_what_it_was(thawed, task):
    path = thawed(task) / "checkpoints" / "last.ckpt"
    assert path.stat().st_size < 120_000
    checkpoint = torch.load(path, weights_only=True)
    assert checkpoint["schema"] <= SCHEMA
    assert type(Task.load_from_checkpoint(path)).__name__ == checkpoint["task"] == task
    text = path.read_bytes() + (thawed(task) / "config.yaml").read_bytes()
    assert b"/home/" not in text
    assert b"/tmp/" not in text  # paths are relative, so that it opens everywhere


@pytest.mark.parametrize("task", TASKS)
def test_it_measures_and_predicts_the_same(run, thawed, tmp_path, task):
    directory = thawed(task)
    expected = json.loads((directory / "test_metrics.json").read_text())
    path = directory / "checkpoints" / "last.ckpt"
    assert run("test", "--ckpt_path", path, *PLAIN) == 0
    found = json.loads((directory / "test_metrics_last.json").read_text())
    assert {name: found[name] for name in expected} == pytest.approx(expected, rel=1e-4, abs=1e-6, nan_ok=True)
    photos = "drawings" if "Caption" in task else "images"
    assert run("predict", "--ckpt_path", path, "--data.predict", photos, *PLAIN) == 0
    lines = (directory / "predictions.jsonl").read_text().splitlines()
    assert len(lines) == (48 if "Caption" in task else 30)


@pytest.mark.parametrize("task", TASKS)
def test_it_trains_on(run, thawed, task):
    directory = thawed(task)
    before = read_checkpoint(directory / "checkpoints" / "last.ckpt")
    with open(directory / "metrics.csv") as file:
        kept = list(csv.DictReader(file))
    assert run("fit", "--ckpt_path", directory, "--trainer.max_epochs", freeze.EPOCHS_RESUMED) == 0
    after = read_checkpoint(directory / "checkpoints" / "last.ckpt")
    assert after["global_step"] == 2 * before["global_step"] > 0
    assert after["raw_weights"]["updates"] == 2 * before["raw_weights"]["updates"]
    with open(directory / "metrics.csv") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["epoch"]) for row in rows] == [0, 1]
    assert {name: rows[0][name] for name in kept[0]} == kept[0]
    assert Path(directory.parent, "version_1").exists() is False
