"""A loss or gradient that is not finite, from one sample, in real runs."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from project import models
from project.callbacks.guard import Guard, GuardOptions
from project.errors import ConfigError
from project.models import Backbone
from project.runs.checkpoints import read_checkpoint
from project.tasks import Classifier

WHITE = 1.9  # normalised, all channels of a white image are above it


class Loss(nn.Module):
    """Divides by zero where an image is white."""

    def forward(self, x: Tensor) -> Tensor:
        white = x.amin((1, 2, 3), keepdim=True) > WHITE
        return x / (~white).float()


class Gradient(nn.Module):
    """Adds a root of zero where an image is white, which is zero, and has no gradient."""

    def forward(self, x: Tensor) -> Tensor:
        white = x.amin((1, 2, 3), keepdim=True) > WHITE
        return x + torch.sqrt(x.square() * ~white) - torch.sqrt(x.square() * ~white).detach()


def net(num_classes: int, image_size: int, trap: str = "Loss") -> Backbone:
    first = nn.Sequential()
    first.add_module("lower", nn.Conv2d(3, 3, 1, bias=False))
    nn.init.dirac_(first.lower.weight)
    first.lower.requires_grad_(trap == "Gradient")
    first.add_module("trap", {"Loss": Loss, "Gradient": Gradient}[trap]())
    rest = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.2))
    return Backbone(
        {"first": first, "rest": rest}, nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), 8, num_classes
    )


@pytest.fixture(autouse=True)
def _net(monkeypatch):
    monkeypatch.setitem(models.BACKBONES, "trap_net", net)


@pytest.fixture
def white(images) -> Path:
    """One white image among the training images of `images`."""
    from project.data import ImageFolder

    path = Path(ImageFolder(str(images), image_size=12).splits["train"].images[5])
    Image.new("RGB", (12, 12), "white").save(path)
    return path


@pytest.fixture
def options(images, white, fit_options, tmp_path):
    def make(name: str, *more: object, trap: str = "Loss") -> list[str]:
        return fit_options(
            images, tmp_path / "runs", "--model.backbone", "trap_net", "--model.backbone_options", f'{{"trap": "{trap}"}}',
            "--data.augment.flip", "true", "--trainer.log_every_n_steps", 1, "--name", name, *more,
        )  # fmt: skip

    return make


def directory(tmp_path: Path, name: str) -> Path:
    return tmp_path / "runs" / name / "version_0"


def same_state(one: dict, other: dict) -> None:
    """Weights, statistics, optimizer: bit for bit. The temperature is validation's."""
    assert one["state_dict"].keys() == other["state_dict"].keys()
    for name, value in one["state_dict"].items():
        assert torch.equal(value, other["state_dict"][name]) or name == "temperature", name
    ours, theirs = one["optimizer_states"][0], other["optimizer_states"][0]
    assert ours["state"].keys() == theirs["state"].keys()
    for index, state in ours["state"].items():
        for name, value in state.items():
            assert torch.equal(torch.as_tensor(value), torch.as_tensor(theirs["state"][index][name]))


def last_row(run_directory: Path) -> dict[str, str]:
    with open(run_directory / "metrics.csv") as file:
        return list(csv.DictReader(file))[-1]


@pytest.mark.parametrize(("trap", "what", "where"), [
    ("Loss", "the loss", "network.stages.first.trap"), ("Gradient", "the gradient", "network.stages.first.lower.weight"),
])  # fmt: skip
def test_the_run_stops_before_the_update_and_says_where_it_came_from(
    run, options, white, tmp_path, capsys, trap, what, where
):
    def constant(name: str, *more: object) -> list[str]:
        return options(name, "--model.lr_scheduler", "null", "--model.optimizer.lr", 0.01, *more, trap=trap)

    assert run(*constant("r")) == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    match = re.match(rf"error: step (\d) \(epoch 1\): {what} is not finite, first in {re.escape(where)}, of ", line)
    assert match, line
    if trap == "Loss":
        assert f", of {white}. Nothing was updated; " in line  # and no other
    else:
        assert str(white) in line or "more" in line
    step, run_directory = int(match[1]), directory(tmp_path, "r")
    kept = torch.load(run_directory / "checkpoints" / "nonfinite_batch.pt", weights_only=True)
    assert (kept["images"] == 255).flatten(1).all(1).sum() == 1
    assert kept["step"] == step - 1
    assert json.loads((run_directory / "status.json").read_text()) == {"status": "failed"}
    assert step > 1  # else there would be no run to compare with
    assert run(*constant("shorter", "--trainer.max_steps", step - 1)) == 0
    last = read_checkpoint(run_directory / "checkpoints" / "last.ckpt")
    assert last["global_step"] == step
    same_state(last, read_checkpoint(directory(tmp_path, "shorter") / "checkpoints" / "last.ckpt"))


@pytest.mark.parametrize(
    "more",
    [(), ("--trainer.accumulate_grad_batches", 2), ("--ema.decay", 0.9), ("--model.sam", 0.05),
     ("--model.optimizer", "AdamW")],
    ids=["plain", "accumulated", "average", "sam", "adamw"],
)  # fmt: skip
def test_a_stopped_run_goes_on_as_if_the_update_had_been_allowed_to_be_left_out(run, options, tmp_path, more):
    assert run(*options("whole", "--guard.skip", 9, *more)) == 0
    assert run(*options("cut", *more)) == 1
    assert run(*options("cut", "--guard.skip", 9, *more), "--ckpt_path", "last") == 0
    whole, cut = (read_checkpoint(directory(tmp_path, name) / "checkpoints" / "last.ckpt") for name in ("whole", "cut"))
    same_state(whole, cut)
    assert all(value.isfinite().all() for value in whole["state_dict"].values() if value.is_floating_point())
    assert last_row(directory(tmp_path, "whole")) == last_row(directory(tmp_path, "cut"))


def test_so_many_updates_are_left_out_counted_and_no_more(run, options, tmp_path, capsys, caplog):
    assert run(*options("r", "--guard.skip", 1, "--trainer.max_epochs", 3)) == 1
    assert "This update is left out, 1 of 1 allowed" in caplog.text
    assert re.search(r"error: step \d \(epoch 2\)", capsys.readouterr().err)
    with open(directory(tmp_path, "r") / "metrics.csv") as file:
        rows = [row for row in csv.DictReader(file) if row["train/skipped_updates"]]
    assert [row["train/skipped_updates"] for row in rows] == ["1.0"]
    assert float(rows[0]["train/loss"]) < 10  # of the batches that counted


def test_the_budget_is_the_runs_and_not_the_starts(run, options, tmp_path):
    assert run(*options("r", "--guard.skip", 1, "--trainer.max_epochs", 3)) == 1
    assert run(*options("r", "--guard.skip", 2, "--trainer.max_epochs", 3), "--ckpt_path", "last") == 1
    assert run(*options("r", "--guard.skip", 3, "--trainer.max_epochs", 3), "--ckpt_path", "last") == 0


def test_weights_that_are_spoilt_already_are_not_saved(run, images, fit_options, tmp_path, capsys):
    more = ("--model.optimizer", "torch.optim.SGD", "--model.optimizer.lr", "1e38", "--model.lr_scheduler", "null")
    assert run(*fit_options(images, tmp_path / "runs", *more)) == 1
    assert "the step before it left weights that are not finite" in capsys.readouterr().err
    assert not list((tmp_path / "runs" / "r").rglob("*.ckpt"))


def test_a_captioner_is_guarded_too(run, captioned, caption_options, tmp_path, capsys):
    import shutil

    folder = Path(shutil.copytree(captioned, tmp_path / "drawings"))
    image = folder / "red_square_1.png"
    Image.new("RGB", (16, 16), "white").save(image)
    options = caption_options(
        folder, tmp_path / "runs", "--model.backbone", "trap_net", "--model.backbone_options", "{}"
    )
    assert run(*options) == 1
    error = capsys.readouterr().err
    assert "the loss is not finite, first in network.encoder.network.stages.first.trap, of " in error
    assert str(image) in error
    assert run(*options, "--guard.skip", 5, "--name", "skipping") == 0


def test_a_negative_budget_is_refused():
    with pytest.raises(ConfigError, match=r"^guard\.skip: must be at least 0; got -1$"):
        GuardOptions(-1)


def test_a_buffer_that_a_module_replaced_is_put_back_too():
    """Some assign a new tensor instead of writing into the old one."""
    task = Classifier(["a", "b"], 12)
    task.network.register_buffer("seen", torch.zeros(()))
    guard, run = Guard(None, GuardOptions()), SimpleNamespace(global_step=0)
    guard.on_train_start(run, task)
    for step in range(2):
        run.global_step = step
        guard.on_train_batch_start(run, task, None, step)
        task.network.seen = task.network.seen + 1
    guard.on_train_batch_start(SimpleNamespace(global_step=2), task, None, 2)
    task.network.seen.fill_(torch.nan)
    guard._restore(task)
    assert task.network.seen == 2
