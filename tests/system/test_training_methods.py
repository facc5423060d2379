"""Whole runs with each method of training, against loops and formulas written out here."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback
from torch import nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from project import models
from project.data import ImageDataModule, ImageFolder
from project.data.images import load_square
from project.data.samples import Samples
from project.models import Backbone
from project.optim import SAM
from project.runs.checkpoints import read_checkpoint
from project.tasks import Classifier

STARTS: list[dict[str, torch.Tensor]] = []
BATCHES: list = []
SIZES: dict[str, set] = {"train": set(), "val": set()}


class Recorder(Callback):
    """Notes the weights before training, the batches of training, and the shapes of all images."""

    def on_train_start(self, trainer, pl_module):
        STARTS.append({name: value.clone() for name, value in pl_module.state_dict().items()})

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        BATCHES.append(batch)
        SIZES["train"].add(tuple(batch.images.shape[1:]))

    def on_validation_batch_start(self, trainer, pl_module, batch, batch_idx, dataloader_idx=0):
        SIZES["val"].add(tuple(batch.images.shape[1:]))


RECORD = ("--trainer.callbacks", json.dumps([{"class_path": f"{__name__}.Recorder"}]))
SGD = ("--model.optimizer", "torch.optim.SGD", "--model.lr_scheduler", "null", "--model.optimizer.lr")
PLAIN = ("--trainer.precision", "32-true", "--trainer.accelerator", "cpu")


@pytest.fixture(autouse=True)
def _nothing_recorded():
    for record in (STARTS, BATCHES, *SIZES.values()):
        record.clear()


@pytest.fixture
def directory(tmp_path) -> Path:
    return tmp_path / "runs" / "r" / "version_0"


def saved(directory: Path, which: str = "last") -> dict:
    return read_checkpoint(directory / "checkpoints" / f"{which}.ckpt")


def last_row(directory: Path) -> dict[str, float]:
    with open(directory / "metrics.csv") as file:
        return {name: float(value) for name, value in list(csv.DictReader(file))[-1].items() if value}


def pixels(images: Path, split: str, crop: float = 1.0) -> tuple[torch.Tensor, np.ndarray]:
    """A split as the network sees it, (N, 3, 12, 12) uint8, with its labels."""
    samples = ImageFolder(str(images), image_size=12).splits[split]
    squares = np.stack([load_square(path, 12, crop) for path in samples.images])
    return torch.from_numpy(squares).permute(0, 3, 1, 2), samples.labels


@torch.no_grad()
def loss_of(logits: torch.Tensor, labels: np.ndarray) -> float:
    return functional.cross_entropy(logits.double(), torch.from_numpy(labels)).item()


# ---- sharpness-aware minimisation


def test_an_epoch_with_sam_is_the_loop_written_out(run, images, fit_options, tmp_path, directory):
    options = fit_options(images, tmp_path / "runs", "--model.sam", 0.3, "--trainer.max_epochs", 1, *SGD, 0.1,
                          "--model.optimizer.weight_decay", 0.1)  # fmt: skip
    assert run(*options, *RECORD, "--trainer.log_every_n_steps", 1) == 0
    assert len(BATCHES) == 3
    task = Classifier(["a", "b", "c"], 12, backbone_options={"width": 4}).train()
    task.load_state_dict(STARTS[0])
    norms = [module for module in task.modules() if isinstance(module, _BatchNorm)]
    decayed, others = ([p for p in task.parameters() if (p.ndim > 1) is wanted] for wanted in (True, False))
    groups = [{"params": decayed, "weight_decay": 0.1}, {"params": others}]
    optimizer, losses = SAM(torch.optim.SGD(groups, lr=0.1, momentum=0.9, nesterov=True), 0.3), []
    for batch in BATCHES:
        counted, passes = [], []

        def closure(batch=batch, counted=counted, passes=passes) -> torch.Tensor:
            optimizer.zero_grad()
            loss = functional.cross_entropy(task(batch.images), batch.labels)
            loss.backward()
            passes.append(loss.item())
            if not counted:
                counted += [{name: b.clone() for name, b in norm.named_buffers()} for norm in norms]
            return loss

        optimizer.step(closure)
        for norm, buffers in zip(norms, counted, strict=True):
            norm.load_state_dict(norm.state_dict() | buffers)
        assert passes[1] > passes[0]
        losses.append(passes[0] * len(batch.labels))
    found = saved(directory)["state_dict"]
    for name, value in task.state_dict().items():
        if name != "temperature":
            torch.testing.assert_close(
                found[name], value, rtol=1e-4, atol=1e-6, msg=lambda text, name=name: f"{name}: {text}"
            )
    assert {value.item() for name, value in found.items() if name.endswith("num_batches_tracked")} == {3}
    assert last_row(directory)["train/loss"] == pytest.approx(sum(losses) / 48, rel=1e-5)
    with open(directory / "metrics.csv") as file:
        steps = [float(row["train/loss_step"]) for row in csv.DictReader(file) if row.get("train/loss_step")]
    assert steps == pytest.approx([loss / 16 for loss in losses], rel=1e-4)


# ---- mixing


@pytest.mark.parametrize("mixing", [{"mixup": 0.5}, {"cutmix": 1.0}, {"mixup": 0.5, "cutmix": 1.0}])
def test_the_training_means_of_mixed_batches(run, images, fit_options, tmp_path, directory, mixing):
    """At a rate of zero all batches see the same weights."""
    more = ("--data.augment", json.dumps(mixing), "--trainer.max_epochs", 1, *SGD, 0)
    assert run(*fit_options(images, tmp_path / "runs", *more, *RECORD)) == 0
    task = Classifier.load_from_checkpoint(directory / "checkpoints" / "last.ckpt").train()
    losses, right = [], []
    for batch in BATCHES:
        share = batch.mixed.share.double().numpy()[:, None]
        assert 0 <= share.min() < 0.75  # or it would prove little
        target = np.eye(3)[batch.labels] * share + np.eye(3)[batch.mixed.labels] * (1 - share)
        with torch.no_grad():
            logits = task(batch.images).double().numpy()
        losses += list(-(target * (logits - np.log(np.exp(logits).sum(1, keepdims=True)))).sum(1))
        right += list(target[np.arange(len(target)), logits.argmax(1)])
    row = last_row(directory)
    assert row["train/loss"] == pytest.approx(np.mean(losses), rel=1e-4)
    assert row["train/accuracy"] == pytest.approx(np.mean(right), rel=1e-4)


class OneClass(ImageDataModule):
    """Knows two classes and has images of one."""

    class_names = ("a", "b")

    def load_splits(self):
        return {"train": Samples(np.zeros((40, 12, 12, 3), np.uint8), np.ones(40, np.int64), "train")}


def test_mixing_images_of_one_class_is_one_line(run, fails, fit_options, tmp_path):
    options = fit_options("", tmp_path / "runs")
    first = options.index("--data")
    options[first : first + 4] = ["--data", f"{__name__}.OneClass"]  # and no root
    line = fails(*options, "--data.augment.mixup", 0.2)
    assert line == "error: data.augment: mixup and cutmix need training images of two classes or more; set them to 0"
    assert run(*options) == 0


# ---- what evaluation looks at


@torch.no_grad()
def flipped(task: Classifier, images: torch.Tensor) -> torch.Tensor:
    return (task(images) + task(images.flip(-1))) / 2


def test_views_are_for_evaluation_and_not_for_the_fit(run, images, fit_options, tmp_path, directory):
    assert run(*fit_options(images, tmp_path / "runs", "--model.tta", "flip", "--checkpoint.monitor", "val/loss")) == 0
    path = directory / "checkpoints" / "last.ckpt"
    assert saved(directory)["hyper_parameters"]["tta"] == "flip"
    task = Classifier.load_from_checkpoint(path)
    val, labels = pixels(images, "val")
    with torch.no_grad():
        plain, viewed = loss_of(task(val), labels), loss_of(flipped(task, val), labels)
    assert plain != pytest.approx(viewed, rel=1e-3)
    assert last_row(directory)["val/loss"] == pytest.approx(plain, rel=1e-4)
    assert run("validate", "--ckpt_path", path, *PLAIN) == 0
    found = json.loads((directory / "validate_metrics_last.json").read_text())
    assert found["val/loss"] == pytest.approx(viewed, rel=1e-4)
    test, labels = pixels(images, "test")
    assert run("test", "--ckpt_path", path, *PLAIN) == 0
    found = json.loads((directory / "test_metrics_last.json").read_text())
    assert found["test/loss"] == pytest.approx(loss_of(flipped(task, test), labels), rel=1e-4)
    assert run("predict", "--ckpt_path", path, "--data.predict", images / "b", *PLAIN) == 0
    lines = [json.loads(line) for line in (directory / "predictions.jsonl").read_text().splitlines()]
    squares = torch.from_numpy(np.stack([load_square(file, 12) for file in sorted((images / "b").iterdir())]))
    p = (flipped(task, squares.permute(0, 3, 1, 2)) / task.temperature).softmax(1)
    assert [line["probability"] for line in lines] == pytest.approx(p.amax(1).tolist(), abs=1e-5)
    # another way of looking may be asked for
    assert run("validate", "--ckpt_path", path, *PLAIN, "--model.tta", "null") == 0
    found = json.loads((directory / "validate_metrics_last.json").read_text())
    assert found["val/loss"] == pytest.approx(plain, rel=1e-4)


def test_a_central_crop_lies_in_the_checkpoint_and_is_kept_to(run, fails, images, fit_options, tmp_path, directory):
    assert run(*fit_options(images, tmp_path / "runs", "--data.center_crop", 0.5, *RECORD)) == 0
    assert saved(directory)["hyper_parameters"]["center_crop"] == 0.5
    path = directory / "checkpoints" / "last.ckpt"
    task = Classifier.load_from_checkpoint(path)
    val, labels = pixels(images, "val", 0.5)
    whole, _ = pixels(images, "val")
    with torch.no_grad():
        expected, uncropped = loss_of(task(val), labels), loss_of(task(whole), labels)
    assert expected != pytest.approx(uncropped, rel=1e-3)
    assert last_row(directory)["val/loss"] == pytest.approx(expected, rel=1e-4)
    trained_on = {image.numpy().tobytes() for batch in BATCHES for image in batch.images}
    assert trained_on == {image.numpy().tobytes() for image in pixels(images, "train")[0]}  # training is not cropped
    test, labels = pixels(images, "test", 0.5)
    assert run("test", "--ckpt_path", path, *PLAIN) == 0
    found = json.loads((directory / "test_metrics_last.json").read_text())
    with torch.no_grad():
        assert found["test/loss"] == pytest.approx(loss_of(task(test), labels), rel=1e-4)
    assert run("predict", "--ckpt_path", path, "--data.predict", images / "b", *PLAIN) == 0
    lines = [json.loads(line) for line in (directory / "predictions.jsonl").read_text().splitlines()]
    squares = torch.from_numpy(np.stack([load_square(file, 12, 0.5) for file in sorted((images / "b").iterdir())]))
    with torch.no_grad():
        p = (task(squares.permute(0, 3, 1, 2)) / task.temperature).softmax(1)
    assert [line["probability"] for line in lines] == pytest.approx(p.amax(1).tolist(), abs=1e-5)
    for verb in ("test", "validate"):
        line = fails(verb, "--ckpt_path", path, "--data.center_crop", 0.75, *PLAIN)
        assert line == "error: data.center_crop: 0.75 contradicts the checkpoint's 0.5"
    line = fails("predict", "--ckpt_path", path, "--model.center_crop", 0.75, "--data.predict", images, *PLAIN)
    assert "center_crop: 0.75 contradicts the checkpoint's 0.5" in line
    line = fails(*fit_options(images, tmp_path / "runs", "--data.center_crop", 1.0, "--ckpt_path", "last"))
    assert "center_crop: 1.0 contradicts the checkpoint's 0.5" in line


def test_another_size_for_training(run, fails, images, fit_options, tmp_path, directory):
    options = fit_options(images, tmp_path / "runs", "--data.train_size", 8)
    assert run(*options, *RECORD) == 0
    assert {"train": {(3, 8, 8)}, "val": {(3, 12, 12)}} == SIZES
    assert Classifier.load_from_checkpoint(directory / "checkpoints" / "best.ckpt").image_size == 12
    val, labels = pixels(images, "val")
    with torch.no_grad():
        expected = loss_of(Classifier.load_from_checkpoint(directory / "checkpoints" / "last.ckpt")(val), labels)
    assert last_row(directory)["val/loss"] == pytest.approx(expected, rel=1e-4)
    line = fails(*options, "--model.backbone", "simple_cnn", "--model.backbone_options", "{}")
    assert line == "error: data.train_size: simple_cnn takes images of 12 pixels alone; leave it out"


# ---- compilation


def tiny(num_classes: int, image_size: int) -> Backbone:
    """One of each kind of layer, since compilation takes seconds a layer."""
    stage = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.BatchNorm2d(4), nn.ReLU())
    return Backbone({"only": stage}, nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), 4, num_classes)


@pytest.mark.slow
def test_a_compiled_network_is_the_same_network(run, images, fit_options, tmp_path, directory, monkeypatch):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "inductor"))
    monkeypatch.setitem(models.BACKBONES, "tiny", tiny)
    more = ("--trainer.max_epochs", 1, *SGD, 0.05, "--model.backbone", "tiny", "--model.backbone_options", "{}")
    assert run(*fit_options(images, tmp_path / "runs", *more)) == 0
    assert run(*fit_options(images, tmp_path / "runs", *more, "--model.compile", "true")) == 0
    eager, compiled = saved(directory)["state_dict"], saved(directory.with_name("version_1"))["state_dict"]
    assert list(eager) == list(compiled)
    assert any((tmp_path / "inductor").rglob("*.cpp"))  # or nothing was compiled
    for name, value in eager.items():
        if name != "temperature":
            torch.testing.assert_close(compiled[name], value, rtol=1e-4, atol=1e-4, msg=name)
    assert last_row(directory.with_name("version_1")) == pytest.approx(last_row(directory), rel=1e-3)
