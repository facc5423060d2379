"""A run that was stopped and resumed is bit for bit the run that was not."""

from __future__ import annotations

import csv
import json
import os
import signal
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Callback
from torch import nn

from project import models
from project.models import Backbone
from project.runs.checkpoints import read_checkpoint


def dropout_net(num_classes: int, image_size: int) -> Backbone:
    """Small, with batch norm and with dropout, whose draws show when the random state is not restored."""
    stage = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.5))
    return Backbone({"only": stage}, nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), 8, num_classes)


class StopAt(Callback):
    """Sends this process a signal, once, at a step of training or of validation."""

    def __init__(self, step: int, validating: bool = False, number: int = signal.SIGTERM) -> None:
        self.step, self.validating, self.number, self.sent = step, validating, number, False

    def _stop(self) -> None:
        self.sent = True
        os.kill(os.getpid(), self.number)

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if not self.validating and trainer.global_step == self.step and not self.sent:
            self._stop()

    def on_validation_batch_start(self, trainer, pl_module, batch, batch_idx, dataloader_idx=0):
        if self.validating and trainer.global_step >= self.step and not self.sent:
            self._stop()


@pytest.fixture(autouse=True)
def _dropout_net(monkeypatch):
    monkeypatch.setitem(models.BACKBONES, "dropout_net", dropout_net)


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    """Two classes of 24 noisy images."""
    import numpy as np
    from PIL import Image

    random = np.random.default_rng(0)
    root = tmp_path_factory.mktemp("images")
    for label in ("dark", "light"):
        folder = root / label
        folder.mkdir(parents=True)
        for i in range(24):
            pixels = random.integers(0, 200, (12, 12, 3)) + (55 if label == "light" else 0)
            Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{i}.png")
    return root


def options(root: Path, images: Path, storage: str, *more: str) -> list[str]:
    return [
        "fit", "--model", "Classifier", "--model.backbone", "dropout_net",
        "--data", "ImageFolder", "--data.root", str(images), "--data.image_size", "12", "--data.batch_size", "5",
        "--data.eval_batch_size", "2", "--data.storage", storage, "--data.num_workers", "2",
        "--data.augment.crop", "2", "--data.augment.flip", "true",
        "--trainer.max_epochs", "4", "--trainer.log_every_n_steps", "1", "--trainer.accelerator", "cpu",
        "--trainer.default_root_dir", str(root), "--name", "r", *more,
    ]  # fmt: skip


def stop(step: int, validating: bool = False, number: int = signal.SIGTERM) -> list[str]:
    init = f'{{"step": {step}, "validating": {str(validating).lower()}, "number": {int(number)}}}'
    return ["--trainer.callbacks", f'[{{"class_path": "{__name__}.StopAt", "init_args": {init}}}]']


RESUME = ("--trainer.callbacks", "null")  # the checkpoint remembers the callback that stopped the run


def outcome(run_directory: Path) -> tuple[dict, list[dict]]:
    checkpoint = read_checkpoint(run_directory / "checkpoints" / "last.ckpt")
    keys = ("state_dict", "optimizer_states", "lr_schedulers", "global_step", "epoch", "raw_weights")
    kept = {key: checkpoint[key] for key in keys if key in checkpoint}
    with open(run_directory / "metrics.csv") as file:
        return kept, list(csv.DictReader(file))


def assert_same(one, other, where="") -> None:
    assert type(one) is type(other), where
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other), where
    elif isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for key in one:
            assert_same(one[key], other[key], f"{where}/{key}")
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(other), where
        for i, (a, b) in enumerate(zip(one, other, strict=True)):
            assert_same(a, b, f"{where}/{i}")
    else:
        assert one == other, where


@pytest.fixture(scope="module")
def _outcomes() -> dict[tuple[str, ...], tuple[dict, list[dict]]]:
    return {}


@pytest.fixture
def uninterrupted(run, tmp_path, images, _outcomes):
    """What a run with `options` comes to that nobody stops; it is run once."""

    def find(*given: str) -> tuple[dict, list[dict]]:
        if given not in _outcomes:
            assert run(*options(tmp_path / "whole", images, *given)) == 0
            _outcomes[given] = outcome(tmp_path / "whole" / "r" / "version_0")
        return _outcomes[given]

    return find


# 39 training images: 8 batches an epoch; 5 validation images: 3 batches
@pytest.mark.parametrize(
    ("storage", "step", "validating"),
    [
        pytest.param("resident", 3, False, marks=pytest.mark.slow),
        ("resident", 11, False),
        ("resident", 15, False),  # the last batch of the second epoch: validation begins, and is run again
        pytest.param("resident", 8, True, marks=pytest.mark.slow),
        ("resident", 16, True),
        ("stream", 11, False),
        pytest.param("stream", 16, True, marks=pytest.mark.slow),
    ],
)
def test_stopped_and_resumed_run_equals_an_uninterrupted_one(
    run, uninterrupted, tmp_path, images, storage, step, validating
):
    assert run(*options(tmp_path / "cut", images, storage), *stop(step, validating)) == 143
    cut = tmp_path / "cut" / "r" / "version_0"
    assert read_checkpoint(cut / "checkpoints" / "last.ckpt")["global_step"] in (step, step + 1)
    assert run(*options(tmp_path / "cut", images, storage), "--ckpt_path", "last", *RESUME) == 0
    weights, rows = uninterrupted(storage)
    weights_cut, rows_cut = outcome(cut)
    assert_same(weights, weights_cut)
    assert rows == rows_cut
    assert not (tmp_path / "cut" / "r" / "version_1").exists()


AUGMENTED = {
    "crop": 1, "flip": "alternate", "policy": "trivial", "brightness": 0.2, "erase": 0.5, "cutout": 2, "mixup": 0.2,
    "cutmix": 1.0,
}  # fmt: skip
METHODS = {
    "average": ("--ema.decay", "0.9"),
    "average now and then": ("--ema.decay", "0.9", "--ema.every", "3"),
    "sam": ("--model.sam", "0.05"),
    "lookahead": ("--lookahead.decay", "0.95", "--lookahead.every", "3"),
    "stages": ("--model.fine_tuning", '{"head_epochs": 1, "unfreeze_epochs": 1, "layer_decay": 0.5}'),
    "views": ("--data.augment", json.dumps(AUGMENTED), "--data.balance", "1", "--data.repeats", "2"),
}
ALONE = {
    "moved images": ("--model.adversarial", '{"epsilon": 8, "steps": 2}'),  # not together with sam
    "whitened": (
        "--model.backbone", "airbench94", "--model.backbone_options", '{"widths": [4, 6]}', "--model.optimizer",
        "MuonSGD", "--model.fine_tuning", '{"freeze_after": {"whiten": 1}, "norm_bias_lr": 8}',
    ),
}  # fmt: skip


@pytest.mark.parametrize(("step", "validating"), [(11, False), (16, True)])
@pytest.mark.parametrize(
    "methods",
    # one by one, which says whose fault it is
    [
        *(pytest.param((name,), marks=pytest.mark.slow) for name in METHODS),
        *(pytest.param((name,), marks=pytest.mark.slow) for name in ALONE if name != "whitened"),
        ("whitened",),
        tuple(METHODS),
    ],
    ids="+".join,
)
def test_so_it_does_with_every_method_of_training(run, uninterrupted, tmp_path, images, methods, step, validating):
    more = [option for name in methods for option in (METHODS | ALONE)[name]]
    assert run(*options(tmp_path / "cut", images, "resident", *more), *stop(step, validating)) == 143
    assert run(*options(tmp_path / "cut", images, "resident", *more), "--ckpt_path", "last", *RESUME) == 0
    weights, rows = uninterrupted("resident", *more)
    weights_cut, rows_cut = outcome(tmp_path / "cut" / "r" / "version_0")
    assert_same(weights, weights_cut)
    assert ("raw_weights" in weights) == ("average" in " ".join(methods))
    assert rows == rows_cut


DREAMING = {
    "word by word": ("--model.decoder.bidirectional", "true"),
    "whole": ("--model.decoder.attention", "none", "--model.decoder.layers", "2"),
    "sampled": ("--model.decoding.search", "sample", "--model.attention_penalty", "0.1", "--ema.decay", "0.9"),
}


@pytest.mark.parametrize(
    ("kind", "step", "validating"),
    [
        ("word by word", 4, False),
        *(pytest.param(kind, 6, True, marks=pytest.mark.slow) for kind in ("whole", "sampled")),
    ],
)
def test_so_it_does_with_a_captioner(run, tmp_path, captioned, caption_options, kind, step, validating):
    """With all that is random: dropout, words of its own, captions that are drawn, and augmentation."""
    more = ("--trainer.max_epochs", 4, "--trainer.log_every_n_steps", 1, "--model.decoder.dropout", 0.5,
            "--model.scheduled_sampling", '{"probability": 0.5, "epochs": 2}', "--data.captions_per_image", 1,
            "--data.augment.crop", 2, "--data.augment.flip", "true", "--data.eval_batch_size", 5,
            "--name", "r", *DREAMING[kind])  # fmt: skip
    assert run(*caption_options(captioned, tmp_path / "whole", *more)) == 0
    assert run(*caption_options(captioned, tmp_path / "cut", *more), *stop(step, validating)) == 143
    assert run(*caption_options(captioned, tmp_path / "cut", *more), "--ckpt_path", "last", *RESUME) == 0
    weights, rows = outcome(tmp_path / "whole" / "r" / "version_0")
    weights_cut, rows_cut = outcome(tmp_path / "cut" / "r" / "version_0")
    assert_same(weights, weights_cut)
    assert rows == rows_cut


def test_resuming_from_the_end_of_an_epoch_is_exact(run, uninterrupted, tmp_path, images):
    # a schedule that does not follow the run's length
    given = ("resident", "--model.lr_scheduler", "torch.optim.lr_scheduler.ConstantLR")
    first = options(tmp_path / "cut", images, *given)
    first[first.index("--trainer.max_epochs") + 1] = "2"
    assert run(*first) == 0
    assert run(*options(tmp_path / "cut", images, *given), "--ckpt_path", "last") == 0
    weights, rows = uninterrupted(*given)
    weights_cut, rows_cut = outcome(tmp_path / "cut" / "r" / "version_0")
    assert_same(weights, weights_cut)
    assert rows == rows_cut


def test_ctrl_c_stops_with_a_checkpoint(run, tmp_path, images):
    assert run(*options(tmp_path, images, "resident"), *stop(3, number=signal.SIGINT)) == 130
    assert read_checkpoint(tmp_path / "r" / "version_0" / "checkpoints" / "last.ckpt")["global_step"] == 4


def test_auto_resumes_an_unfinished_run_and_starts_anew_after_a_finished_one(run, tmp_path, images):
    base = [*options(tmp_path, images, "resident"), "--ckpt_path", "auto"]
    versions = lambda: sorted(path.name for path in (tmp_path / "r").iterdir())  # noqa: E731
    stopping = stop(3)
    assert run(*base, *stopping) == 143
    assert run(*base, *stopping) == 0  # the callback's own state is not saved, but the step has passed
    assert versions() == ["version_0"]
    assert run(*base) == 0
    assert versions() == ["version_0", "version_1"]


def test_command_line_beats_the_checkpoint_when_resuming(run, tmp_path, images):
    assert run(*options(tmp_path, images, "resident"), *stop(3)) == 143
    checkpoint = tmp_path / "r" / "version_0" / "checkpoints" / "last.ckpt"
    more = ("--trainer.max_epochs", "6", "--model.label_smoothing", "0.2", *RESUME)
    assert run("fit", "--ckpt_path", checkpoint, *more) == 0
    resumed = read_checkpoint(checkpoint)
    assert resumed["epoch"] == 5
    assert resumed["hyper_parameters"]["label_smoothing"] == 0.2
    assert resumed["config"]["model"]["init_args"]["label_smoothing"] == 0.2
    assert resumed["config"]["data"]["init_args"]["batch_size"] == 5  # from the checkpoint
