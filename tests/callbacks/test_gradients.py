"""The gradient's norm against one computed by hand, and histograms on request."""

from __future__ import annotations

import csv
import math

import pytest
import torch
from lightning.pytorch import Callback

from project.callbacks.gradients import can_be_counted
from project.tasks import Classifier


class Norms(Callback):
    """In float64, of what the backward pass has left."""

    def __init__(self) -> None:
        self.found: list[float] = []

    def on_after_backward(self, trainer, pl_module):
        squares = [p.grad.double().square().sum().item() for p in pl_module.parameters() if p.grad is not None]
        self.found.append(math.sqrt(sum(squares)))


def norms(run) -> list[float]:
    with open(run / "metrics.csv") as file:
        return [float(row["train/gradient_norm"]) for row in csv.DictReader(file) if row["train/gradient_norm"]]


@pytest.mark.parametrize("more", [(), ("--trainer.gradient_clip_val", 1e-3), ("--model.sam", 0.05)])
def test_the_norm_is_that_of_the_first_unclipped_gradient(run, images, fit_options, tmp_path, monkeypatch, more):
    from project.cli import run as composition

    mine = Norms()
    standing = composition._standing_callbacks
    monkeypatch.setattr(composition, "_standing_callbacks", lambda *given: [mine, *standing(*given)])
    options = ("--trainer.log_every_n_steps", 1, "--watch.pictures", 0, *more)
    assert run(*fit_options(images, tmp_path / "runs", *options)) == 0
    passes = 2 if "--model.sam" in more else 1
    found = norms(tmp_path / "runs/r/version_0")
    assert len(found) == 6
    assert found == pytest.approx(mine.found[::passes], rel=1e-5)


def test_it_is_recorded_at_logged_steps_alone(run, images, fit_options, tmp_path):
    options = ("--trainer.log_every_n_steps", 4, "--watch.pictures", 0)
    assert run(*fit_options(images, tmp_path / "runs", *options)) == 0
    with open(tmp_path / "runs/r/version_0/metrics.csv") as file:
        rows = [row for row in csv.DictReader(file) if row["train/gradient_norm"]]
    assert [(row["step"], bool(row["train/loss_step"])) for row in rows] == [("3", True)]


def test_parts_with_a_rate_of_their_own_are_shown(run, captioned, caption_options, tmp_path, shown):
    options = ("--model.encoder_lr", 0.1, "--trainer.log_every_n_steps", 1, "--watch.pictures", 0)
    assert run(*caption_options(captioned, tmp_path / "runs", *options)) == 0
    found = shown(tmp_path / "runs/c/version_0")
    slow, fast = ([event.value for event in found.Scalars(f"lr_by_factor/{factor}")] for factor in ("0.1", "1"))
    assert slow == pytest.approx([rate / 10 for rate in fast])
    with open(tmp_path / "runs/c/version_0/metrics.csv") as file:
        assert "lr_by_factor" not in file.read()


def test_histograms_hold_every_weight_once_an_epoch(watched):
    network = Classifier.load_from_checkpoint(watched.path / "checkpoints/last.ckpt")
    names = {name for name, _ in network.named_parameters()}
    tags = watched.events.Tags()["histograms"]
    assert {tag.partition("/")[2] for tag in tags if tag.startswith("weights/")} == names
    assert {tag.partition("/")[2] for tag in tags if tag.startswith("gradients/")} == names
    events = watched.events.Histograms("weights/network.head.weight")
    assert [event.step for event in events] == [0, 3]
    assert events[0].histogram_value.num == network.network.head.weight.numel()


def test_numbers_that_are_none_are_not_counted():
    """A scaler's first gradients may be infinite, and TensorBoard knows no histogram of them."""
    assert can_be_counted(torch.ones(3))
    assert not can_be_counted(torch.tensor([1.0, torch.inf]))
    assert not can_be_counted(torch.tensor([torch.nan]))
    assert not can_be_counted(torch.empty(0))
    assert not can_be_counted(None)
