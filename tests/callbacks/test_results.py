"""`test_metrics.json` and the confusion matrix, against predictions counted here."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from sklearn import metrics as reference

from project.data import ImageFolder
from project.tasks import Classifier


@pytest.mark.parametrize(("verb", "stage"), [("test", "test"), ("validate", "val")])
def test_metrics_and_confusion_equal_those_of_the_predictions(run, trained, trained_images, verb, stage):
    assert run(verb, "--ckpt_path", trained / "checkpoints/last.ckpt", "--trainer.precision", "32-true") == 0
    samples = ImageFolder(str(trained_images)).splits[stage]
    answers = Classifier.load_from_checkpoint(trained / "checkpoints/last.ckpt").predict(samples.images)
    predicted = [answer["label"] for answer in answers]
    truth = [Path(path).parent.name for path in samples.images]
    found = json.loads((trained / f"{verb}_metrics_last.json").read_text())
    assert (found.pop("checkpoint"), found.pop("precision")) == ("last.ckpt", "32-true")
    names = ["a", "b", "c"]
    recall = reference.recall_score(truth, predicted, average=None, labels=names, zero_division=0)
    expected = {f"{stage}/class_accuracy/{name}": value for name, value in zip(names, recall, strict=True)}
    expected[f"{stage}/accuracy"] = reference.accuracy_score(truth, predicted)
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-6)
    others = ("loss", "precision", "recall", "f1", "ece", "ece_uncalibrated", "nll", "brier")
    assert set(found) - set(expected) == {f"{stage}/{name}" for name in others}
    with open(trained / f"{verb}_confusion_last.csv") as file:
        head, *rows = list(csv.reader(file))
    assert head[1:] == [row[0] for row in rows] == names
    matrix = [[int(cell) for cell in row[1:]] for row in rows]
    assert matrix == reference.confusion_matrix(truth, predicted, labels=names).tolist()


def test_a_fit_writes_none_and_another_root_gets_a_run_of_its_own(run, trained, tmp_path):
    assert not list(trained.glob("*_metrics.json"))
    root = tmp_path / "elsewhere"
    assert run("test", "--ckpt_path", trained, "--trainer.default_root_dir", root, "--name", "n") == 0
    assert not list(trained.glob("*_metrics.json"))
    names = sorted(path.name.partition(".out.")[0] for path in (root / "n" / "version_0").iterdir())
    assert names == [
        "checkpoints", "config.yaml", "events", "provenance.json", "test_confusion.csv", "test_metrics.json",
    ]  # fmt: skip


def test_test_again_and_of_another_checkpoint_loses_no_result(run, trained):
    first = trained / "test_metrics.json"
    assert run("test", "--ckpt_path", trained) == 0
    text = first.read_text()
    assert run("test", "--ckpt_path", trained / "checkpoints" / "last.ckpt") == 0
    assert first.read_text() == text
    assert json.loads((trained / "test_metrics_last.json").read_text())["checkpoint"] == "last.ckpt"
    assert run("test", "--ckpt_path", trained, "--model.tta", "flip") == 0
    assert json.loads(first.read_text())["test/loss"] != json.loads(text)["test/loss"]
    assert (trained / "test_metrics.earlier_1.json").read_text() == text
    assert [path.name for path in trained.iterdir() if path.name.startswith(".")] == []


def test_tensorboard_has_what_test_found_where_training_ended(run, trained, shown):
    before = set(shown(trained).Tags()["scalars"])
    assert run("validate", "--ckpt_path", trained / "checkpoints/last.ckpt") == 0
    assert set(shown(trained).Tags()["scalars"]) == before
    assert run("test", "--ckpt_path", trained / "checkpoints/last.ckpt") == 0
    expected = json.loads((trained / "test_metrics_last.json").read_text())
    expected = {name: value for name, value in expected.items() if "/" in name and "/class_accuracy/" not in name}
    found = shown(trained)
    assert set(found.Tags()["scalars"]) - before == set(expected)
    for name, value in expected.items():
        (event,) = found.Scalars(name)
        assert event.value == pytest.approx(value)
        assert event.step == found.Scalars("val/loss")[-1].step == 5


def test_a_run_that_goes_on_keeps_what_was_tested_before(run, trained, shown):
    """Resuming hides what was shown of later steps."""
    assert run("test", "--ckpt_path", trained / "checkpoints/last.ckpt") == 0
    assert run("fit", "--ckpt_path", trained, "--trainer.max_epochs", 3) == 0
    found = shown(trained)
    assert [event.step for event in found.Scalars("test/accuracy")] == [5]
    assert [event.step for event in found.Scalars("val/accuracy")] == [2, 5, 8]
