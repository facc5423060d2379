"""What is exported of a checkpoint: its task, or of a distiller the student."""

from __future__ import annotations

import hashlib

import pytest
import torch

from project.errors import CheckpointError
from project.export import subject as module
from project.export.subject import open_subject, rebuild
from project.losses.distillation import LossTerm
from project.tasks import CaptionDistiller, Classifier, Distiller


def test_a_run_stands_for_its_best_checkpoint(trained):
    best = trained / "checkpoints" / "best.ckpt"
    found = open_subject(str(trained))
    assert found.path == open_subject(str(best)).path == best
    assert found.sha256 == hashlib.sha256(best.read_bytes()).hexdigest()
    assert type(found.task) is Classifier
    assert not found.task.training
    for name, value in found.checkpoint["state_dict"].items():
        assert torch.equal(found.task.state_dict()[name], value)
    (trained / "checkpoints" / "best.ckpt").unlink()
    with pytest.raises(CheckpointError, match=r"^ckpt_path: .*: the folder is no run with a checkpoints/best\.ckpt$"):
        open_subject(str(trained))


def test_of_distillers_the_student(classifier, captioner, saved):
    for distiller, plain in ((Distiller, classifier()), (CaptionDistiller, captioner())):
        task = distiller(**plain.hparams, teacher="absent.ckpt")
        task.load_state_dict(plain.state_dict(), strict=False)
        found = open_subject(str(saved(task)))
        assert type(found.task) is type(plain)
        assert "teacher" not in found.checkpoint["hyper_parameters"]
        for name, value in plain.state_dict().items():
            assert torch.equal(found.task.state_dict()[name], value)


def test_a_student_that_answers_through_its_teacher_is_refused(classifier, saved):
    path = saved(Distiller(**classifier().hparams, teacher="absent.ckpt", losses=[LossTerm("simkd")]))
    with pytest.raises(CheckpointError, match=r"^ckpt_path: .*: with simkd the student answers through its teacher's"):
        open_subject(str(path))


def test_a_task_of_another_kind_is_refused(classifier, saved, monkeypatch):
    path = saved(classifier())
    monkeypatch.delitem(module.TASKS, "Classifier")
    with pytest.raises(CheckpointError, match=r"holds a Classifier; only classifiers and captioners are exported$"):
        open_subject(str(path))


def test_what_is_no_checkpoint_is_refused(tmp_path):
    path = tmp_path / "x.ckpt"
    path.write_bytes(b"no checkpoint")
    with pytest.raises(CheckpointError, match=r"^ckpt_path: .*x\.ckpt: not a checkpoint, or a damaged one$"):
        open_subject(str(path))


def test_a_task_from_its_name(classifier):
    task = classifier()
    found = rebuild("Classifier", dict(task.hparams), task.state_dict())
    assert not found.training
    assert found.temperature == task.temperature
