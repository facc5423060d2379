"""The options of a run in a flat table."""

from __future__ import annotations

import csv

import pytest
import yaml
from tensorboard.plugins.hparams import metadata

from project.callbacks.hyperparameters import flat_options
from project.tasks import Classifier


def test_options_are_flat_and_short():
    config = {
        "seed": 3,
        "name": "n",
        "model": {
            "class_path": "project.tasks.Classifier",
            "init_args": {
                "backbone_options": {"width": 4},
                "mean": [0.1, 0.2, 0.3],
                "optimizer": {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.1, "nesterov": True}},
                "weights": None,
            },
        },
        "data": {"class_path": "project.data.Digits"},
        "ema": {"decay": None},
        "trainer": {"max_epochs": 2, "precision": "32-true", "devices": 1},
    }
    assert flat_options(config) == {
        "seed": 3,
        "model": "Classifier",
        "model.backbone_options.width": 4,
        "model.optimizer": "SGD",
        "model.optimizer.lr": 0.1,
        "model.optimizer.nesterov": True,
        "data": "Digits",
        "trainer.max_epochs": 2,
        "trainer.precision": "32-true",
    }


def session(found):
    """The options that TensorBoard's table has of a run."""
    content = found.SummaryMetadata(metadata.SESSION_START_INFO_TAG).plugin_data.content
    started = metadata.parse_session_start_info_plugin_data(content)
    return {name: getattr(value, value.WhichOneof("kind")) for name, value in started.hparams.items()}


def test_a_run_has_its_options_and_its_best(watched):
    found = watched.events
    expected = flat_options(yaml.safe_load((watched.path / "config.yaml").read_text()))
    assert session(found) == expected
    assert expected["model.backbone_options.width"] == 4
    with open(watched.path / "metrics.csv") as file:
        values = [float(row["val/accuracy"]) for row in csv.DictReader(file) if row["val/accuracy"]]
    best = [event.value for event in found.Scalars("best/val/accuracy")]
    assert best == pytest.approx([values[0], max(values)])
    ended = found.SummaryMetadata(metadata.SESSION_END_INFO_TAG).plugin_data.content
    assert metadata.parse_session_end_info_plugin_data(ended).status == 1  # STATUS_SUCCESS


def test_a_run_that_fails_is_in_the_table_without_an_end(run, images, fit_options, tmp_path, shown, monkeypatch):
    monkeypatch.setattr(Classifier, "on_validation_epoch_end", lambda self: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run(*fit_options(images, tmp_path / "runs", "--model.optimizer.lr", 0.3, "--trainer.log_every_n_steps", 1))
    found = shown(tmp_path / "runs/r/version_0")
    assert session(found)["model.optimizer.lr"] == 0.3
    assert found.Scalars("train/loss_step")
    with pytest.raises(KeyError):
        found.SummaryMetadata(metadata.SESSION_END_INFO_TAG)
