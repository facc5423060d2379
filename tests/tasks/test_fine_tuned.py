"""That tasks follow their fine-tuner; what it does to a network is in `test_fine_tuning`."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from project.data import ImageFolder
from project.data.images import load_square
from project.models.airbench import WhiteningConv
from project.models.captioning import DecoderOptions
from project.runs.checkpoints import read_checkpoint
from project.tasks import Captioner, Classifier
from project.tasks.fine_tuned import FineTunedTask
from project.tasks.fine_tuning import FineTuning

FROZEN = FineTuning(frozen=["stem"])
TASKS = {
    "classifier": lambda: Classifier(["a", "b"], 16, backbone_options={"width": 4}, fine_tuning=FROZEN),
    "captioner": lambda: Captioner(
        ["a", "b"], 4, 16, backbone_options={"width": 4}, decoder=DecoderOptions(hidden_size=4), fine_tuning=FROZEN
    ),
}


@pytest.mark.parametrize("name", TASKS)
def test_what_is_frozen_stays_in_evaluation_mode(name):
    task = TASKS[name]()
    assert isinstance(task, FineTunedTask)
    network = task.network if name == "classifier" else task.network.encoder.network
    norms = {
        part: [m for m in network.stages[part].modules() if isinstance(m, nn.BatchNorm2d)] for part in network.stages
    }
    task.eval().train()
    assert [norm.training for norm in norms["stem"]] == [False]
    assert all(norm.training for part in ("stage1", "stage2") for norm in norms[part])


@pytest.mark.parametrize("name", TASKS)
def test_gradients_of_what_is_frozen_are_dropped_before_a_step(name):
    task = TASKS[name]()
    task.fine_tuner._learning = {"stem": list(task.parameters())[:1]}
    parameter = next(iter(task.parameters()))
    parameter.grad = parameter.detach().clone()
    task.on_before_optimizer_step(None)
    assert parameter.grad is None


# ---- what follows from the images

WHITENED = ("--model.backbone", "airbench94", "--model.backbone_options", '{"widths": [4, 6]}')
FILTERS = "network.stages.whiten.0.weight"


@pytest.fixture
def filters(run, fit_options, tmp_path):
    """Trains a whitened classifier; returns the filters of its last checkpoint."""

    def fit(images, root: str, *more: object) -> torch.Tensor:
        assert run(*fit_options(images, tmp_path / root, *WHITENED, "--trainer.max_epochs", 1, *more)) == 0
        return read_checkpoint(sorted((tmp_path / root).rglob("last.ckpt"))[-1])["state_dict"][FILTERS]

    return fit


def test_a_run_begins_with_the_filters_of_its_training_images(filters, images):
    samples = ImageFolder(str(images), image_size=12).splits["train"]
    squares = torch.from_numpy(np.stack([load_square(path, 12) for path in samples.images]))
    layer = WhiteningConv(2)
    layer.whiten([Classifier(["a", "b"], 12).normalize(squares.permute(0, 3, 1, 2))])
    found = filters(images, "runs", "--model.optimizer.lr", 0.1)
    torch.testing.assert_close(found.abs(), layer.weight.detach().abs(), rtol=1e-4, atol=1e-4)
    # files and worker processes give the same
    assert torch.equal(filters(images, "stream", "--data.storage", "stream", "--data.num_workers", 2), found)


def test_weights_that_are_given_take_their_place(filters, images, tmp_path):
    given = torch.randn(24, 3, 2, 2)
    torch.save({FILTERS: given}, tmp_path / "weights.pt")
    assert torch.equal(filters(images, "runs", "--model.init_from", tmp_path / "weights.pt"), given)


def test_a_resumed_run_and_a_loaded_network_keep_them(filters, images, image_tree, tmp_path):
    first = filters(images, "runs")
    others = image_tree(tmp_path / "others", size=14)  # whose filters are others
    assert not torch.equal(filters(others, "others-runs"), first)
    more = ("--ckpt_path", tmp_path / "runs" / "r" / "version_0", "--trainer.max_epochs", 2)
    assert torch.equal(filters(others, "runs", *more), first)
    loaded = Classifier.load_from_checkpoint(tmp_path / "runs" / "r" / "version_0" / "checkpoints" / "last.ckpt")
    assert torch.equal(loaded.network.stages["whiten"][0].weight, first)


# ---- batches of one image


def test_single_image_before_a_norm_over_one_position_is_refused_before_training(
    fails, image_tree, fit_options, tmp_path
):
    small = image_tree(tmp_path / "images", count=6, size=8, classes=("a", "b"))
    size = ("--data.image_size", 8, "--data.val_fraction", 0.5)
    line = fails(*fit_options(small, tmp_path / "runs", *size, "--data.batch_size", 1))
    assert line.startswith("error: data.batch_size: a training batch has one image, and a batch norm ")
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    "more",
    [
        ("--data.batch_size", 2),
        ("--data.batch_size", 1, "--model.fine_tuning.freeze_norms", "true"),
        ("--data.batch_size", 1, "--data.image_size", 32),  # where a norm sees more positions
    ],
    ids=["two images", "frozen norms", "larger images"],
)
def test_batches_that_have_a_variance_train(run, image_tree, fit_options, tmp_path, more):
    small = image_tree(tmp_path / "images", count=6, size=8, classes=("a", "b"))
    options = fit_options(small, tmp_path / "runs", "--data.image_size", 8, "--data.val_fraction", 0.5, *more)
    assert run(*options, "--trainer.max_epochs", 1) == 0


def test_looking_for_norms_over_one_position_changes_nothing(run, images, fit_options, tmp_path, monkeypatch):
    """With batches of one image; compared with a run that does not look."""
    found = []
    for root in ("looks", "does not"):
        if root != "looks":
            monkeypatch.setattr(FineTunedTask, "_check_batch_norms", lambda self: None)
        options = fit_options(
            images, tmp_path / root, "--data.batch_size", 1, "--data.image_size", 32, "--trainer.limit_train_batches", 3
        )
        assert run(*options) == 0
        found.append(read_checkpoint(tmp_path / root / "r/version_0/checkpoints/last.ckpt")["state_dict"])
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])
