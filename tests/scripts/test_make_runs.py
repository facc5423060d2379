"""The runs of the notebooks: each trained and tested once, by the options that stand in one table."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
import yaml

from project.runs.directory import find_runs

SCRIPT = Path(__file__).parents[2] / "scripts" / "make_runs.py"


@pytest.fixture
def make_runs():
    spec = importlib.util.spec_from_file_location("make_runs", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def short(make_runs, tmp_path):
    """The recipes of the students in one epoch each: (arguments) runs the script below `tmp_path`."""
    short = ("--trainer.max_epochs", "1", "--trainer.accelerator", "cpu", "--trainer.enable_model_summary", "false")
    recipes = make_runs.RECIPES
    names = ("student-alone", "classifier-digits", "student-distilled")
    make_runs.RECIPES = {name: recipes[name]._replace(options=(*recipes[name].options, *short)) for name in names}
    return lambda *arguments: make_runs.main(["--root", str(tmp_path / "runs"), *arguments])


@pytest.mark.slow
def test_each_seed_is_trained_and_tested_once(short, tmp_path):
    short("--recipes", "student-alone", "--seeds", "2")
    runs = find_runs(tmp_path / "runs", "student-alone")
    assert [run.read_config()["seed"] for run in runs] == [0, 1]
    assert all(run.finished for run in runs)
    before = [json.loads((run.path / "test_metrics.json").read_text()) for run in runs]
    assert all(0 <= metrics["test/accuracy"] <= 1 for metrics in before)
    times = [(run.path / "metrics.csv").stat().st_mtime_ns for run in runs]

    (runs[0].path / "test_metrics.json").unlink()
    short("--recipes", "student-alone", "--seeds", "2")
    assert find_runs(tmp_path / "runs", "student-alone") == runs
    assert [(run.path / "metrics.csv").stat().st_mtime_ns for run in runs] == times
    assert [json.loads((run.path / "test_metrics.json").read_text()) for run in runs] == before


@pytest.mark.slow
def test_the_distilled_student_has_the_first_classifier_as_its_teacher(short, tmp_path):
    short("--seeds", "1")
    teacher = tmp_path / "runs" / "classifier-digits" / "version_0"
    (student,) = find_runs(tmp_path / "runs", "student-distilled")
    assert student.read_config()["model"]["init_args"]["teacher"] == str(teacher)
    alone = yaml.safe_load((tmp_path / "runs" / "student-alone" / "version_0" / "config.yaml").read_text())["model"]
    distilled = student.read_config()["model"]
    shared = alone["init_args"].keys() & distilled["init_args"].keys()
    assert {"backbone", "backbone_options", "label_smoothing", "optimizer", "lr_scheduler", "mean"} <= shared
    assert {name: alone["init_args"][name] for name in shared} == {
        name: distilled["init_args"][name] for name in shared
    }


def test_mistakes(make_runs, capsys):
    for arguments, said in ((["--seeds", "0"], "one or more"), (["--recipes", "x"], "invalid choice")):
        with pytest.raises(SystemExit) as stop:
            make_runs.main(arguments)
        assert stop.value.code == 2
        assert said in capsys.readouterr().err
