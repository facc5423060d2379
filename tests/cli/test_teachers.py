"""Teachers that are configurations: trained first, once, on the student's data."""

from __future__ import annotations

import json

import pytest
import torch
import yaml

from project.runs.checkpoints import read_checkpoint


@pytest.fixture
def config(tmp_path):
    """A teacher's configuration, without its data."""
    model = {"class_path": "Classifier", "init_args": {"backbone_options": {"width": 6}}}
    path = tmp_path / "large.yaml"
    path.write_text(yaml.safe_dump({"model": model, "trainer": {"max_epochs": 1, "enable_model_summary": False}}))
    return path


@pytest.fixture
def student(fit_options, images, tmp_path, config):
    """The arguments of a student of it."""

    def options(*more: object) -> list[str]:
        given = fit_options(images, tmp_path / "runs", "--model.teacher", config, *more)
        given[given.index("Classifier")] = "Distiller"
        return given

    return options


def test_it_is_trained_first_and_found_again(run, student, tmp_path, images, config):
    assert run(*student()) == 0
    teachers = tmp_path / "runs" / "teacher-large"
    assert [path.name for path in teachers.iterdir()] == ["version_0"]
    own = yaml.safe_load((teachers / "version_0" / "config.yaml").read_text())
    assert own["data"]["init_args"]["root"] == str(images)
    assert own["model"]["init_args"]["backbone_options"] == {"width": 6}
    assert own["trainer"]["max_epochs"] == 1
    written = (teachers / "version_0" / "checkpoints" / "best.ckpt").stat().st_mtime_ns

    assert run(*student()) == 0
    assert [path.name for path in teachers.iterdir()] == ["version_0"]
    assert (teachers / "version_0" / "checkpoints" / "best.ckpt").stat().st_mtime_ns == written
    # whether it was trained a moment ago or long before changes no bit of the student
    first, second = (
        read_checkpoint(tmp_path / "runs" / "r" / f"version_{n}" / "checkpoints" / "last.ckpt") for n in range(2)
    )
    assert all(torch.equal(value, second["state_dict"][name]) for name, value in first["state_dict"].items())
    assert first["hyper_parameters"]["teacher"] == str(teachers / "version_0")

    # testing with the same options finds the teacher that the checkpoint names
    test = ["test", *student()[1:], "--ckpt_path", "best"]
    assert run(*test) == 0
    metrics = json.loads((tmp_path / "runs" / "r" / "version_1" / "test_metrics.json").read_text())
    assert "test/teacher_accuracy" in metrics


def test_another_configuration_is_another_teacher(run, student, tmp_path, config):
    assert run(*student()) == 0
    config.write_text(config.read_text().replace("width: 6", "width: 5"))
    assert run(*student()) == 0
    runs = sorted((tmp_path / "runs" / "teacher-large").iterdir())
    assert [path.name for path in runs] == ["version_0", "version_1"]


def test_an_interrupted_teacher_is_gone_on_with(run, student, tmp_path):
    assert run(*student()) == 0
    teacher = tmp_path / "runs" / "teacher-large" / "version_0"
    (teacher / "status.json").write_text('{"status": "interrupted"}')
    assert run(*student()) == 0
    assert json.loads((teacher / "status.json").read_text()) == {"status": "finished"}
    assert [path.name for path in teacher.parent.iterdir()] == ["version_0"]


def test_a_student_is_resumed_with_the_same_teacher(run, student, tmp_path):
    assert run(*student("--trainer.max_epochs", 1)) == 0
    assert run(*student("--trainer.max_epochs", 2, "--ckpt_path", "last")) == 0
    assert [path.name for path in (tmp_path / "runs" / "teacher-large").iterdir()] == ["version_0"]
    assert [path.name for path in (tmp_path / "runs" / "r").iterdir()] == ["version_0"]


def test_nothing_can_be_trained_first_where_nothing_is_kept(fails, student):
    line = fails(*student("--trainer.fast_dev_run", "true"))
    assert line.startswith("error: model.teacher: fast_dev_run keeps nothing")
