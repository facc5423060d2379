"""What every student does: finds its teachers, and leaves a plain task behind."""

from __future__ import annotations

import json
import shutil
from types import SimpleNamespace

import pytest
import torch

from project.errors import CheckpointError, ConfigError
from project.runs.checkpoints import read_checkpoint
from project.tasks import Captioner, Classifier, Task
from project.tasks.student import Student, find_teacher, fingerprint, is_config, load_teacher


class Learner(Student):
    plain_task = "Classifier"
    own_options = ("teacher", "weight")

    def __init__(self, teacher: str | list[str]) -> None:
        self.hparams = {"image_size": 12}
        self.learn_from(teacher, weight=0.5)


# ---- sources


@pytest.mark.parametrize("kind", [Classifier, Captioner])
def test_load_teacher_foreign_file_names_the_option_and_a_way_to_a_teacher(tmp_path, kind):
    path = tmp_path / "foreign.pth"
    torch.save({"state_dict": {"module.conv1.weight": torch.zeros(3)}}, path)
    with pytest.raises(CheckpointError) as error:
        load_teacher(path, str(path), kind)
    assert str(error.value) == (
        f"model.teacher: {path}: not a checkpoint of this codebase; a teacher is a run of this codebase; train a "
        f"{kind.__name__} from these weights first: fit --model.init_from {path}"
    )
    path.write_bytes(b"PK")
    with pytest.raises(CheckpointError, match=r"^model\.teacher: .*foreign\.pth: (not a checkpoint|damaged)"):
        load_teacher(path, str(path), kind)


def test_sources_are_kept_one_or_several():
    assert Learner("a").sources == ["a"]
    assert Learner(["a", "b"]).sources == ["a", "b"]
    assert Learner("a").hparams == {"image_size": 12, "teacher": "a", "weight": 0.5}
    with pytest.raises(ConfigError, match=r"^model\.teacher: name one or more; without any, train a Classifier$"):
        Learner([])


def test_runs_take_the_place_of_configurations():
    one, two = Learner("a.yaml"), Learner(["a.yaml", "b.ckpt"])
    for student in (one, two):
        student.replace_teachers({"a.yaml": "runs/a", "c.yaml": "runs/c"})
    assert (one.sources, one.hparams["teacher"]) == (["runs/a"], "runs/a")
    assert two.sources == two.hparams["teacher"] == ["runs/a", "b.ckpt"]


@pytest.mark.parametrize(("source", "expected"), [("a.yaml", True), ("b/a.yml", True), ("a.ckpt", False), ("a", False)])
def test_configurations_are_told_from_checkpoints(source, expected):
    assert is_config(source) is expected


def test_a_run_stands_for_its_best_checkpoint(trained):
    best = trained / "checkpoints" / "best.ckpt"
    assert find_teacher(str(trained), "") == find_teacher(str(best), "") == best
    member = load_teacher(best, str(trained), Classifier)
    assert not any(module.training for module in member.modules())
    shutil.rmtree(trained / "checkpoints")
    with pytest.raises(
        CheckpointError, match=r"^model\.teacher: .*: the folder is no run with a checkpoints/best\.ckpt$"
    ):
        find_teacher(str(trained), "")


def test_what_is_no_teacher_is_said_in_one_line(trained, tmp_path):
    with pytest.raises(CheckpointError, match=r"^model\.teacher: x\.ckpt: there is no such .*; give one, or a friend$"):
        find_teacher("x.ckpt", "or a friend")
    with pytest.raises(ConfigError, match=r"^model\.teacher: a\.yaml is a configuration; the command `fit` trains it"):
        find_teacher("a.yaml", "")
    with pytest.raises(CheckpointError, match=r"^model\.teacher: here holds a Classifier; a Captioner is needed$"):
        load_teacher(trained / "checkpoints" / "best.ckpt", "here", Captioner)


# ---- what is left behind


def test_the_student_is_a_plain_task(trained, tmp_path):
    best = read_checkpoint(trained / "checkpoints" / "best.ckpt")
    config = json.loads(json.dumps(best["config"]))
    best["hyper_parameters"] |= {"teacher": "t.ckpt", "weight": 0.5}
    best["config"]["model"] = {
        "class_path": "project.tasks.Learner",
        "init_args": best["config"]["model"]["init_args"] | {"teacher": "t.ckpt", "weight": 0.5},
    }
    (name, plain), *others = Learner("t.ckpt").exports(best).items()
    assert name == "student.ckpt"
    assert not others
    assert plain["task"] == "Classifier"
    assert plain["config"] == config
    assert plain["data"].keys() == {"train", "val", "test"}
    assert best["config"]["model"]["class_path"] == "project.tasks.Learner"  # as it was
    assert not {"optimizer_states", "loops", "random_state"} & plain.keys()
    assert plain["callbacks"] == {"SaveCheckpoints": best["callbacks"]["SaveCheckpoints"]}
    torch.save(plain, tmp_path / name)
    student, before = (Task.load_from_checkpoint(p) for p in (tmp_path / name, trained / "checkpoints" / "best.ckpt"))
    assert type(student) is Classifier
    assert dict(student.hparams) == dict(before.hparams)
    assert fingerprint([student]) == fingerprint([before])


def test_a_checkpoint_without_a_configuration_is_exported_too():
    checkpoint = {"state_dict": {}, "hyper_parameters": {"teacher": "x", "image_size": 8}}
    assert Learner("x").exports(checkpoint)["student.ckpt"] == {
        "state_dict": {},
        "task": "Classifier",
        "hyper_parameters": {"image_size": 8},
        "config": {},
        "callbacks": {},
    }


def test_a_fingerprint_is_of_every_number():
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    before = fingerprint([network])
    assert before == fingerprint([network])
    assert fingerprint([SimpleNamespace(state_dict=dict)]) != before
    network[1].running_mean[1] += 1e-6
    changed = fingerprint([network])
    assert changed != before
    assert fingerprint([network, network]) not in (before, changed)
