"""The command that compares two recipes, on folders of noise that train in a second."""

from __future__ import annotations

import json
import re
from functools import partial
from pathlib import Path

import pytest
import yaml


@pytest.fixture
def compare(images, tmp_path, script):
    """Runs the script on two configurations of the same small network."""
    model = {"class_path": "Classifier", "init_args": {"backbone_options": {"width": 4}}}
    data = {"class_path": "ImageFolder", "init_args": {"image_size": 12, "batch_size": 16}}
    trainer = {"max_epochs": 1, "accelerator": "cpu", "precision": "32-true", "enable_model_summary": False}
    for name in "ab":
        text = yaml.safe_dump({"model": model, "data": data, "trainer": trainer, "progress": "none"})
        (tmp_path / f"{name}.yaml").write_text(f"# {name}\n{text}")
    return partial(script, "compare")


@pytest.mark.slow
def test_the_same_recipe_twice_makes_no_difference(compare, images, tmp_path):
    status, out, _ = compare("a.yaml", "b.yaml", "--seeds", "2", "--", "--data.root", str(images))
    assert status == 0
    rows = re.findall(r"seed \d: ([\d.]+)  ([\d.]+)", out)
    assert len(rows) == 2
    assert all(a == b for a, b in rows)
    assert "B - A: +0.0000, 95 % interval [+0.0000, +0.0000], p = 1.0000" in out
    runs = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "runs" / "compare").iterdir()}
    assert len(runs) == 4
    # what is finished is not trained again; other options are other runs
    again = compare("a.yaml", "b.yaml", "--seeds", "2", "--", "--data.root", str(images))[1]
    assert [line for line in again.splitlines() if line.startswith(("seed", "A", "B"))] == [
        line for line in out.splitlines() if line.startswith(("seed", "A", "B"))
    ]
    assert len(list((tmp_path / "runs" / "compare").glob("*/version_*"))) == 4
    compare("a.yaml", "b.yaml", "--seeds", "2", "--b", "--ema.decay 0.5", "--", "--data.root", str(images))
    assert len(list((tmp_path / "runs" / "compare").glob("*/version_*"))) == 6


def test_a_configuration_that_another_names_counts_too(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "scripts"))
    from compare import texts

    teacher, student = tmp_path / "teacher.yaml", tmp_path / "student.yaml"
    teacher.write_text("seed: 1\n")
    student.write_text(f"# python -m project fit --config {student}\nmodel:\n  teacher: {teacher}\n")  # as ours begin
    before = texts(["--config", str(student), "--model.optimizer.lr", "0.1"])
    assert before == student.read_text() + teacher.read_text()
    teacher.write_text("seed: 2\n")
    assert texts(["--config", str(student)]) != before
    assert texts(["--data.root", "absent.yaml"]) == ""


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["a.yaml", "absent.yaml"], "error: absent.yaml: there is no such configuration file"),
        (["a.yaml", "b.yaml", "--", "--data.rot", "x"], "error: data.rot: there is no such option"),
    ],
)
def test_a_mistake_is_one_line(compare, options, message):
    status, _, err = compare(*options)
    assert status == 2
    assert any(line.startswith(message) for line in err.splitlines())


def test_a_run_that_keeps_nothing_is_no_result(compare, images):
    status, _, err = compare("a.yaml", "b.yaml", "--", "--data.root", str(images), "--trainer.fast_dev_run", "true")
    assert status == 2
    assert "its training did not end; leave out what keeps no run, such as trainer.fast_dev_run" in err


@pytest.mark.slow
def test_a_metric_without_a_value_is_named(compare, images, tmp_path):
    where = ["--data.root", str(images), "--trainer.max_epochs", "1"]
    status, _, _ = compare("a.yaml", "a.yaml", "--seeds", "2", "--", *where)
    for file in tmp_path.rglob("test_metrics.json"):
        file.write_text(json.dumps(json.loads(file.read_text()) | {"test/f1": None}))
    status, _, err = compare("a.yaml", "a.yaml", "--seeds", "2", "--metric", "test/f1", "--", *where)
    assert status == 2
    assert "error: --metric: test/f1 is no number in " in err


def test_an_unknown_metric_is_named(compare, images):
    options = ["a.yaml", "b.yaml", "--seeds", "2", "--metric", "test/acuracy", "--", "--data.root", str(images)]
    status, _, err = compare(*options)
    assert status == 2
    assert "error: --metric: there is no 'test/acuracy'; did you mean 'test/accuracy'?" in err
