"""A student that learns from the average of its own weights, through the command line."""

from __future__ import annotations

import json
import os
import signal

import pytest
import torch
from lightning.pytorch import Callback

from project.runs.checkpoints import read_checkpoint

OWN = ("--model", "Distiller", "--model.teacher", "ema", "--model.label_weight", 1.0, "--model.teacher_decay", 0.9)


def test_the_average_is_what_the_steps_say_and_lies_beside_the_student(run, images, fit_options, tmp_path):
    assert run(*fit_options(images, tmp_path / "runs", *OWN, "--trainer.max_epochs", 2)) == 0
    folder = tmp_path / "runs" / "r" / "version_0"
    last = read_checkpoint(folder / "checkpoints" / "last.ckpt")
    assert last["ema"]["steps"] == last["global_step"]
    names = last["ema"]["network"].keys()
    assert {f"network.{name}" for name in names} <= last["state_dict"].keys()
    weights = [name for name in names if name.endswith("weight")]
    assert any(not torch.equal(last["ema"]["network"][name], last["state_dict"][f"network.{name}"]) for name in weights)
    student = read_checkpoint(folder / "checkpoints" / "student.ckpt")
    assert "ema" not in student
    assert run("test", "--ckpt_path", folder, "--data.root", images) == 0
    metrics = json.loads((folder / "test_metrics.json").read_text())
    assert {"test/accuracy", "test/teacher_accuracy", "test/agreement"} <= metrics.keys()


def test_a_resumed_run_has_the_same_bits(run, images, fit_options, tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    shape = ("--model.lr_scheduler", "null")
    assert run(*fit_options(images, whole, *OWN, *shape, "--trainer.max_epochs", 3)) == 0
    assert run(*fit_options(images, parts, *OWN, *shape, "--trainer.max_epochs", 1)) == 0
    assert run(*fit_options(images, parts, *OWN, *shape, "--trainer.max_epochs", 3, "--ckpt_path", "last")) == 0
    one, other = (read_checkpoint(root / "r" / "version_0" / "checkpoints" / "last.ckpt") for root in (whole, parts))
    assert one["ema"]["steps"] == other["ema"]["steps"]
    for name, value in one["ema"]["network"].items():
        assert torch.equal(other["ema"]["network"][name], value)
    for name, value in one["state_dict"].items():
        assert torch.equal(other["state_dict"][name], value)


class Stop(Callback):
    """Sends SIGTERM within the second step."""

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        if trainer.global_step == 1:
            os.kill(os.getpid(), signal.SIGTERM)


def test_a_run_that_is_stopped_in_mid_epoch_has_averaged_each_step(run, images, fit_options, tmp_path):
    shape = ("--model.lr_scheduler", "null", "--trainer.max_epochs", 2)
    assert run(*fit_options(images, tmp_path / "whole", *OWN, *shape)) == 0
    stop = ("--trainer.callbacks", json.dumps([{"class_path": f"{__name__}.Stop"}]))
    assert run(*fit_options(images, tmp_path / "parts", *OWN, *shape, *stop)) == 143
    last = tmp_path / "parts" / "r" / "version_0" / "checkpoints" / "last.ckpt"
    assert read_checkpoint(last)["ema"]["steps"] == read_checkpoint(last)["global_step"] == 2
    assert run(*fit_options(images, tmp_path / "parts", *OWN, *shape, "--ckpt_path", "last")) == 0
    one = read_checkpoint(tmp_path / "whole" / "r" / "version_0" / "checkpoints" / "last.ckpt")
    other = read_checkpoint(last)
    assert one["ema"]["steps"] == other["ema"]["steps"]
    assert all(torch.equal(other["ema"]["network"][name], value) for name, value in one["ema"]["network"].items())
    assert all(torch.equal(other["state_dict"][name], value) for name, value in one["state_dict"].items())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--trainer.precision", "bf16-true"), "model.teacher: 16-bit weights are too coarse to average; use "),
        (
            ("--model.losses", '[{"name": "simkd"}]'),
            "model.teacher: with simkd the student answers through a teacher's ",
        ),
    ],
)
def test_what_an_average_cannot_be_is_one_line(fails, images, fit_options, tmp_path, options, message):
    assert fails(*fit_options(images, tmp_path / "runs", *OWN, *options)).startswith(f"error: {message}")


@pytest.mark.parametrize("decay", [1.0, -0.1])
def test_a_decay_that_is_none_is_one_line(fails, images, fit_options, tmp_path, decay):
    line = fails(*fit_options(images, tmp_path / "runs", *OWN, "--model.teacher_decay", decay))
    assert line == f"error: model.teacher_decay: must be at least 0 and below 1; got {decay}"
