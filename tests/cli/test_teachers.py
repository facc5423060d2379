"""Teachers that are configurations: trained first, once, on the student's data."""

from __future__ import annotations

import csv
import json
import os
import signal
from pathlib import Path

import pytest
import torch
import yaml
from lightning.pytorch import Callback

from project.cli.command import Command, read_command
from project.cli.teachers import finished_run, teachers_of_checkpoint, teachers_to_train
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


def of(teaching: Command, *names: str) -> object:
    """An option of a teacher's command."""
    found = teaching.plain_config()
    for name in names:
        found = found[name]
    return found


def state(directory: Path) -> dict[str, torch.Tensor]:
    return read_checkpoint(directory / "checkpoints" / "last.ckpt")["state_dict"]


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


# ---- which commands


def test_a_teacher_learns_from_the_students_data_unless_its_own_file_says_otherwise(student, images, config, tmp_path):
    content = yaml.safe_load(config.read_text())
    config.write_text(yaml.safe_dump(content | {"data": {"init_args": {"batch_size": 5}}, "seed": 7}))
    more = ("--data.augment.flip", "true", "--seed", 3, "--trainer.gradient_clip_val", 1, "--ema.decay", 0.5)
    ((source, teaching),) = teachers_to_train(read_command(student(*more))).items()
    assert source == str(config)
    assert (teaching.verb, teaching.name, teaching.root) == ("fit", "teacher-large", str(tmp_path / "runs"))
    data = of(teaching, "data", "init_args")
    assert of(teaching, "data", "class_path") == "project.data.ImageFolder"
    assert (data["root"], data["image_size"], data["augment"]["flip"]) == (str(images), 12, True)
    assert (data["batch_size"], of(teaching, "seed")) == (5, 7)
    # what runs where is the student's; how it learns is its own
    assert (of(teaching, "trainer", "precision"), of(teaching, "trainer", "accelerator")) == ("32-true", "cpu")
    assert of(teaching, "trainer", "max_epochs") == 1
    assert of(teaching, "trainer", "gradient_clip_val") is None
    assert of(teaching, "ema", "decay") is None
    assert of(teaching, "model", "class_path") == "project.tasks.Classifier"


def test_several_are_trained_and_what_is_trained_already_is_not(student, trained, config):
    other = config.with_name("small.yml")
    other.write_text(config.read_text())
    sources = json.dumps([str(config), str(trained), str(other)])
    found = teachers_to_train(read_command(student("--model.teacher", sources)))
    assert {source: teaching.name for source, teaching in found.items()} == {
        str(config): "teacher-large",
        str(other): "teacher-small",
    }
    assert teachers_to_train(read_command(student("--model.teacher", trained))) == {}


def test_only_training_trains_teachers(trained, fit_options, images, tmp_path):
    assert teachers_to_train(read_command(["test", "--ckpt_path", str(trained)])) == {}
    assert teachers_to_train(read_command(fit_options(images, tmp_path / "runs"))) == {}
    assert teachers_of_checkpoint(read_command(["test", "--ckpt_path", str(trained)])) == {}


def test_a_run_of_another_configuration_or_one_that_was_not_finished_is_no_teacher(run, fit_options, images, tmp_path):
    options = fit_options(images, tmp_path / "runs")
    assert finished_run(read_command(options)) is None
    for _ in range(2):
        assert run(*options) == 0
    first, second = sorted((tmp_path / "runs" / "r").iterdir())
    asked = read_command([*options, "--progress", "none"])
    assert finished_run(asked) == second
    (second / "status.json").write_text('{"status": "failed"}')
    assert finished_run(asked) == first
    assert finished_run(read_command([*options, "--progress", "none", "--seed", "1"])) is None


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            {"class_path": "CaptionDistiller", "init_args": {"teacher": "x"}},
            "trains a CaptionDistiller; a Classifier is needed",
        ),
        (
            {"class_path": "Distiller", "init_args": {"teacher": "x", "losses": [{"name": "simkd"}]}},
            "answers through its own teacher's classifier (simkd); give that teacher",
        ),
    ],
)
def test_what_cannot_teach_is_not_trained_first(fails, student, config, tmp_path, model, message):
    config.write_text(yaml.safe_dump({"model": model}))
    line = fails(*student())
    assert line.startswith("error: model.teacher: ")
    assert line.endswith(message)
    assert not (tmp_path / "runs").exists()


# ---- runs


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
    assert [path.name for path in teacher.parent.iterdir()] == ["version_0"]


class StopAt(Callback):
    """Sends this process a signal, once, at a step."""

    def __init__(self, step: int) -> None:
        self.step, self.sent = step, False

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_step == self.step and not self.sent:
            self.sent = True
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.slow
def test_a_teacher_that_was_stopped_is_the_one_that_was_not(run, student, config, tmp_path):
    content = yaml.safe_load(config.read_text())
    content["trainer"]["max_epochs"] = 2
    config.write_text(yaml.safe_dump(content))
    assert run(*student("--trainer.default_root_dir", tmp_path / "whole")) == 0
    whole = tmp_path / "whole" / "teacher-large" / "version_0"

    content["trainer"]["callbacks"] = [{"class_path": f"{__name__}.StopAt", "init_args": {"step": 4}}]
    config.write_text(yaml.safe_dump(content))
    assert run(*student()) == 143
    teachers = tmp_path / "runs" / "teacher-large"
    assert not (tmp_path / "runs" / "r").exists()
    written = set()
    for _ in range(3):
        assert run(*student()) == 0
        assert [path.name for path in teachers.iterdir()] == ["version_0"]
        written.add((teachers / "version_0" / "checkpoints" / "last.ckpt").stat().st_mtime_ns)
    assert len(written) == 1, "finished, it is not trained again"
    assert same(state(whole), state(teachers / "version_0"))
    with open(teachers / "version_0" / "metrics.csv") as file:
        assert [int(row["epoch"]) for row in csv.DictReader(file)] == [0, 1]
    assert same(state(tmp_path / "whole" / "r" / "version_0"), state(tmp_path / "runs" / "r" / "version_2"))


def test_the_seed_is_the_students_whether_a_teacher_was_trained_in_between(run, student, tmp_path):
    assert run(*student("--seed", 3)) == 0
    teacher = tmp_path / "runs" / "teacher-large" / "version_0"
    assert run(*student("--seed", 3, "--model.teacher", teacher, "--trainer.default_root_dir", tmp_path / "other")) == 0
    assert same(state(tmp_path / "runs" / "r" / "version_0"), state(tmp_path / "other" / "r" / "version_0"))


def test_with_several_each_stands_in_its_place(run, student, trained, config, tmp_path):
    sources = [str(trained), str(config)]
    more = ("--model.teacher", json.dumps(sources), "--model.allowed_drop", 1)
    assert run(*student(*more)) == 0
    teacher = str(tmp_path / "runs" / "teacher-large" / "version_0")
    checkpoint = tmp_path / "runs" / "r" / "version_1" / "checkpoints" / "best.ckpt"  # beside `trained`
    assert read_checkpoint(checkpoint)["hyper_parameters"]["teacher"] == [str(trained), teacher]
    asked = read_command(["test", *student(*more)[1:], "--ckpt_path", str(checkpoint)])
    assert teachers_of_checkpoint(asked) == {str(config): teacher}


def test_measuring_takes_the_run_that_the_student_learned_from(run, fails, student, config, images, tmp_path):
    assert run(*student()) == 0
    directory = tmp_path / "runs" / "r" / "version_0"
    config.write_text(config.read_text().replace("width: 6", "width: 5"))  # whatever has become of the file
    for verb in ("test", "validate"):
        assert run(verb, *student()[1:], "--ckpt_path", "best") == 0
    config.unlink()
    assert run("test", *student()[1:], "--ckpt_path", directory) == 0
    assert run("predict", "--ckpt_path", directory, "--data.predict", images) == 0
    assert [path.name for path in (tmp_path / "runs" / "teacher-large").iterdir()] == ["version_0"]
    assert fails(*student()) == f"error: config: {config}: cannot be read (No such file or directory)"


def test_a_student_that_was_stopped_goes_on_with_the_same_teacher(run, student, tmp_path):
    assert run(*student("--trainer.default_root_dir", tmp_path / "whole")) == 0
    stop = json.dumps([{"class_path": f"{__name__}.StopAt", "init_args": {"step": 4}}])
    options = student("--trainer.callbacks", stop, "--ckpt_path", "auto")
    assert run(*options) == 143
    assert run(*options) == 0
    assert [path.name for path in (tmp_path / "runs" / "r").iterdir()] == ["version_0"]
    assert [path.name for path in (tmp_path / "runs" / "teacher-large").iterdir()] == ["version_0"]
    assert same(state(tmp_path / "whole" / "r" / "version_0"), state(tmp_path / "runs" / "r" / "version_0"))
    saved = read_checkpoint(tmp_path / "runs" / "r" / "version_0" / "checkpoints" / "last.ckpt")
    assert saved["hyper_parameters"]["teacher"] == str(tmp_path / "runs" / "teacher-large" / "version_0")


def test_a_student_is_resumed_with_the_same_teacher(run, student, tmp_path):
    assert run(*student("--trainer.max_epochs", 1)) == 0
    assert run(*student("--trainer.max_epochs", 2, "--ckpt_path", "last")) == 0
    assert [path.name for path in (tmp_path / "runs" / "teacher-large").iterdir()] == ["version_0"]
    assert [path.name for path in (tmp_path / "runs" / "r").iterdir()] == ["version_0"]


def test_nothing_can_be_trained_first_where_nothing_is_kept(fails, student):
    line = fails(*student("--trainer.fast_dev_run", "true"))
    assert line.startswith("error: model.teacher: fast_dev_run keeps nothing")
