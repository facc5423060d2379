"""What is said of a checkpoint was found out about this very one."""

from __future__ import annotations

import json
import os
import shutil
from datetime import datetime
from pathlib import Path

import pytest
import torch

from project.export.evidence import gather
from project.export.subject import Subject
from project.runs.directory import RunDirectory
from project.runs.results import results_path

FIT, DATA = "fit --config a.yaml", {"train": {"samples": 3, "fingerprint": "f"}}
DAY = "2026-01-1{}T00:00:00+00:00"


def made_run(folder: Path, *commands: str, **metrics: dict[str, float]) -> Path:
    """A run in which these commands were given, a day after each other from day 0 on, and then wrote their metrics.

    A command's second word is the checkpoint that it found.
    """
    folder.mkdir()
    (folder / "checkpoints").mkdir()
    (folder / "config.yaml").write_text("")
    entries = [
        {
            "time": DAY.format(number), "command": f"python -m project {command}", "data": DATA,
            "checkpoint": {"file": f"{command.split()[1]}.ckpt", "steps": 3} if command != FIT else None,
        }
        for number, command in enumerate(commands)
    ]  # fmt: skip
    (folder / "provenance.json").write_text(json.dumps(entries))
    run = RunDirectory(folder)
    for command in commands:  # later ones replace what is of the same checkpoint
        verb, name = command.split()[:2]
        if verb in metrics:
            content = {"checkpoint": f"{name}.ckpt", "precision": "32-true"} | metrics[verb]
            results_path(run, verb, "metrics.json", run.checkpoints / name).write_text(json.dumps(content))
    return folder / "checkpoints"


def found(path: Path, config: dict | None = None):
    return gather(Subject(None, path, "", {"config": config or {}}))


@pytest.mark.parametrize(
    ("given", "of"),
    [("best", {"best", "student"}), ("student", {"best", "student"}), ("last", {"last"})],
)
def test_metrics_are_those_of_the_checkpoint_that_was_measured(tmp_path, given, of):
    checkpoints = made_run(tmp_path / "r", FIT, f"test {given}", test={"test/f1": 0.5})
    for name in ("best", "last", "student"):
        measured = found(checkpoints / f"{name}.ckpt").measured
        assert measured == (
            {"test": (f"python -m project test {given}", {"test/f1": 0.5}, "32-true")} if name in of else {}
        )


def test_what_was_measured_before_training_went_on_is_not_told(tmp_path):
    checkpoints = made_run(
        tmp_path / "r", FIT, "test best", "fit last", "validate best",
        test={"a": 1.0}, validate={"b": 2.0},
    )  # fmt: skip
    evidence = found(checkpoints / "best.ckpt")
    assert set(evidence.measured) == {"validate"}
    assert (evidence.trained["time"], evidence.trained["command"]) == (DAY.format(2), "python -m project fit last")


def test_gather_two_checkpoints_were_measured_each_has_its_own_metrics(tmp_path):
    checkpoints = made_run(tmp_path / "r", FIT, "test best", "test last", test={"a": 1.0})
    (tmp_path / "r" / "test_metrics_last.json").write_text('{"checkpoint": "last.ckpt", "a": 2.0}')
    assert found(checkpoints / "best.ckpt").measured["test"][1:] == ({"a": 1.0}, "32-true")
    assert found(checkpoints / "last.ckpt").measured["test"][1:] == ({"a": 2.0}, "not recorded")


@pytest.mark.parametrize("content", [{"a": 1.0}, {"checkpoint": "last.ckpt", "a": 1.0}])
def test_gather_metrics_of_an_unknown_or_another_checkpoint_are_not_told(tmp_path, content):
    """As in the one file for all checkpoints of earlier versions."""
    checkpoints = made_run(tmp_path / "r", FIT, "test best", test={"a": 1.0})
    (tmp_path / "r" / "test_metrics.json").write_text(json.dumps(content))
    assert found(checkpoints / "best.ckpt").measured == {}


def test_gather_a_measurement_that_was_stopped_is_not_told(tmp_path):
    """The file is from before it began."""
    checkpoints = made_run(tmp_path / "r", FIT, "test best", test={"a": 1.0})
    before = datetime.fromisoformat(DAY.format(0)).timestamp()
    os.utime(tmp_path / "r" / "test_metrics.json", (before, before))
    assert found(checkpoints / "best.ckpt").measured == {}


def test_what_was_measured_by_a_version_that_did_not_say_of_which_checkpoint_is_not_told(tmp_path):
    checkpoints = made_run(tmp_path / "r", FIT, "test best", test={"a": 1.0})
    entries = json.loads((tmp_path / "r" / "provenance.json").read_text())
    for entry in entries:
        del entry["checkpoint"]
    (tmp_path / "r" / "provenance.json").write_text(json.dumps(entries))
    assert found(checkpoints / "best.ckpt").measured == {}


def test_a_checkpoint_in_no_run(tmp_path):
    evidence = found(tmp_path / "alone.ckpt")
    assert evidence == ({}, {}, {}, "")


def test_of_a_real_run(trained, run):
    assert run("test", "--ckpt_path", trained, "--trainer.precision", "32-true") == 0
    best = trained / "checkpoints" / "best.ckpt"
    evidence = gather(Subject(None, best, "", torch.load(best, weights_only=True)))
    expected = json.loads((trained / "test_metrics.json").read_text())
    assert (expected.pop("checkpoint"), expected.pop("precision")) == ("best.ckpt", "32-true")
    assert evidence.measured["test"][1:] == (expected, "32-true")
    assert evidence.trained["data"]["train"]["samples"] == 48
    assert evidence.data_set == "ImageFolder"
    recipe = evidence.recipe
    assert (recipe["seed"], recipe["epochs"], recipe["batch_size"], recipe["precision"]) == (0, 2, 16, "32-true")
    assert recipe["optimizer"]["class_path"] == "torch.optim.SGD"
    assert "augment" not in recipe
    shutil.rmtree(trained)


def test_a_recipe_says_what_is_not_usual(tmp_path):
    config = {
        "seed": 3,
        "model": {"init_args": {"label_smoothing": 0.0, "weights": "DEFAULT", "tta": None}},
        "data": {
            "class_path": "project.data.Digits",
            "init_args": {"augment": {"crop": 4, "flip": False, "erase": 0.0}},
        },
        "trainer": {"max_epochs": 2, "gradient_clip_val": None},
        "ema": {"decay": None},
    }
    evidence = found(tmp_path / "x.ckpt", config)
    assert evidence.recipe == {"seed": 3, "epochs": 2, "weights": "DEFAULT", "augment": {"crop": 4}}
    assert evidence.data_set == "Digits"


def test_gather_tensors_in_a_configuration_are_left_out(tmp_path):
    data = {"init_args": {"augment": {"crop": torch.zeros(2), "flip": True}, "batch_size": torch.ones(3)}}
    evidence = found(tmp_path / "x.ckpt", {"trainer": {"gradient_clip_val": torch.zeros(2)}, "data": data})
    assert evidence.recipe == {"augment": {"flip": True}}


@pytest.mark.parametrize(
    "damage",
    [None, 3, "text", [None, 3, []], [{}], [{"command": 3, "time": "yesterday"}], [{"command": "'", "time": None}],
     [{"command": "python -m project fit", "time": DAY.format(0), "data": {"train": 3}}],
     [{"command": "python -m project test", "time": DAY.format(0), "checkpoint": [], "git": 3}], "[" * 100_000],
)  # fmt: skip
def test_gather_damaged_provenance_is_left_out(tmp_path, damage):
    folder = made_run(tmp_path / "r")
    text = damage if isinstance(damage, str) else json.dumps(damage)
    (folder.parent / "provenance.json").write_text(text)
    config = {"data": 3, "model": [], "trainer": "x", "ema": None}
    evidence = gather(Subject(None, folder / "best.ckpt", "", {"config": config}))
    assert (evidence.measured, evidence.recipe, evidence.data_set) == ({}, {}, "")
