"""What every task shares: checkpoints that need no command line, warm starts, runs that stop when they are done or diverge."""

from __future__ import annotations

import csv
import json
import pickletools
import zipfile
from functools import partial

import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer
from torch.utils.data import DataLoader

from project.data import ImageFolder
from project.data.batch import Batch
from project.errors import CheckpointError, DataError, NonFiniteError
from project.runs.checkpoints import read_checkpoint
from project.tasks import Classifier, Task


def column(run_directory, name: str) -> list[float]:
    with open(run_directory / "metrics.csv") as file:
        return [float(row[name]) for row in csv.DictReader(file) if row.get(name)]


# ---- checkpoints


@pytest.mark.parametrize("cls", [Classifier, Task])
@pytest.mark.parametrize("which", ["best", "last"])
def test_a_checkpoint_is_opened_from_python_alone(trained, cls, which):
    path = trained / "checkpoints" / f"{which}.ckpt"
    task = cls.load_from_checkpoint(path)
    saved = torch.load(path, weights_only=True)["state_dict"]
    assert type(task) is Classifier
    assert task.state_dict().keys() == saved.keys()
    assert all(torch.equal(value, saved[name]) for name, value in task.state_dict().items())
    assert not any(module.training for module in task.modules())
    assert (task.class_names, task.image_size) == (["a", "b", "c"], 12)
    answer = task.predict([np.zeros((5, 9), np.uint8)])[0]
    assert answer["top5"][0][0] == answer["label"]
    assert sum(value for _, value in answer["top5"]) == pytest.approx(1)


def test_arguments_may_be_replaced_and_the_rest_is_as_saved(trained):
    path = trained / "checkpoints" / "last.ckpt"
    task = Classifier.load_from_checkpoint(path, class_names=["x", "y", "z"], label_smoothing=0.3)
    assert task.class_names == ["x", "y", "z"]
    assert task.label_smoothing == 0.3
    assert task.hparams.backbone_options == {"width": 4}
    with pytest.raises(CheckpointError, match="do not fit"):
        Classifier.load_from_checkpoint(path, class_names=["x", "y"])


def test_no_class_of_anything_but_torch_is_named_in_a_checkpoint(trained):
    with zipfile.ZipFile(trained / "checkpoints" / "last.ckpt") as archive:
        (name,) = [name for name in archive.namelist() if name.endswith("data.pkl")]
        operations = list(pickletools.genops(archive.read(name)))
    named = {argument.replace(" ", ".") for code, argument, _ in operations if code.name == "GLOBAL"}
    assert not any(code.name == "STACK_GLOBAL" for code, _, _ in operations)
    assert "torch._utils._rebuild_tensor_v2" in named
    assert {name for name in named if not name.startswith("torch.")} <= {"collections.OrderedDict"}


@pytest.mark.parametrize("cls", [Classifier, Task])
def test_another_tasks_checkpoint_is_refused(trained, tmp_path, cls):
    checkpoint = read_checkpoint(trained / "checkpoints" / "last.ckpt")
    torch.save(checkpoint | {"task": "Painter"}, tmp_path / "c.ckpt")
    with pytest.raises(CheckpointError, match="holds a Painter"):
        cls.load_from_checkpoint(tmp_path / "c.ckpt")


@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`")
@pytest.mark.parametrize(
    ("verb", "opened"), [("fit", False), ("validate", False), ("test", False), ("validate", True), ("test", True)]
)
def test_data_that_mix_the_checkpoints_splits_are_refused_from_python(trained, trained_images, verb, opened):
    path = trained / "checkpoints" / "last.ckpt"
    task, given = Classifier.load_from_checkpoint(path).train(), {} if opened else {"ckpt_path": path}
    trainer = Trainer(
        accelerator="cpu", devices=1, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, max_epochs=3,
    )  # fmt: skip
    options = {"root": str(trained_images), "image_size": 12, "num_workers": 0}
    with pytest.raises(DataError, match=r"data: \d+ of the 6 images of the (val|test) split were in the train split"):
        getattr(trainer, verb)(task, datamodule=ImageFolder(**options, split_seed=1), **given)
    getattr(trainer, verb)(task, datamodule=ImageFolder(**options), **given)


# ---- warm start


@pytest.mark.parametrize("classes", [("a", "b", "c"), ("a", "b", "c", "d")])
def test_a_warm_start_is_a_new_run_from_old_weights(run, trained, image_tree, fit_options, tmp_path, classes):
    source = trained / "checkpoints" / "last.ckpt"
    images = image_tree(tmp_path / "more", count=12, classes=classes)
    frozen = ("--model.optimizer", "torch.optim.SGD", "--model.optimizer.lr", 0, "--trainer.max_epochs", 1)
    options = fit_options(images, tmp_path / "runs", "--model.init_from", source, *frozen)
    assert run(*options) == 0
    new = read_checkpoint(tmp_path / "runs/r/version_1/checkpoints/last.ckpt")
    old = read_checkpoint(source)["state_dict"]
    assert new["epoch"] == 0
    same = {name for name, value in new["state_dict"].items() if torch.equal(value, old.get(name, value.new_empty(0)))}
    assert ("network.head.weight" in same) is (len(classes) == 3)
    convolutions = {name for name in old if old[name].ndim == 4}
    assert convolutions
    assert convolutions <= same


# ---- without the command line


def test_a_loss_that_is_no_number_stops_a_run_without_a_guard(tmp_path):
    task = Classifier(["a", "b"], 8, backbone_options={"width": 4}, optimizer=partial(torch.optim.SGD, lr=1e38))
    pixels = torch.randint(256, (4, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    batches = DataLoader([Batch(pixels, torch.tensor([0, 1, 0, 1]), torch.arange(4))] * 3, batch_size=None)
    trainer = Trainer(accelerator="cpu", max_epochs=2, logger=False, enable_checkpointing=False,
                      enable_progress_bar=False, enable_model_summary=False, default_root_dir=tmp_path)  # fmt: skip
    with pytest.raises(NonFiniteError, match=r"^train/loss is nan in epoch 1: training has diverged\."):
        trainer.fit(task, batches, batches)


# ---- callbacks of Lightning


@pytest.mark.parametrize("by", ["option", "callback"])
def test_early_stopping_stops_and_the_run_is_finished(run, images, fit_options, tmp_path, by):
    given = ("--early_stopping.patience", 1, "--early_stopping.min_delta", 10)
    if by == "callback":
        init = {"monitor": "val/accuracy", "mode": "max", "patience": 1, "min_delta": 10}
        given = ("--trainer.callbacks", json.dumps([{"class_path": "EarlyStopping", "init_args": init}]))
    assert run(*fit_options(images, tmp_path / "runs", "--trainer.max_epochs", 9, *given)) == 0
    directory = tmp_path / "runs" / "r" / "version_0"
    assert len(column(directory, "val/loss")) == 2
    assert read_checkpoint(directory / "checkpoints" / "last.ckpt")["epoch"] == 1
    assert json.loads((directory / "status.json").read_text()) == {"status": "finished"}


def test_check_hyper_parameters_larger_network_than_the_weights_is_refused_before_it_takes_memory():
    options = {
        "class_names": ["a", "b"],
        "image_size": 16,
        "backbone": "small_resnet",
        "backbone_options": {"width": 4},
    }
    weights = Classifier(**options).state_dict()
    assert Classifier.check_hyper_parameters(options, "x", weights) == options
    for wrong, reason in (
        ({"backbone_options": {"width": 20_000}}, "larger network"), ({"image_size": 10**6}, "image_size, 1000000, is above"),
        ({"class_names": ["a"] * 10**6}, "larger network"), ({"backbone": 3}, "must be a text"),
    ):  # fmt: skip
        with pytest.raises(CheckpointError, match=reason):
            Classifier.check_hyper_parameters(options | wrong, "x", weights)
    assert "compile" not in Classifier.check_hyper_parameters(
        options | {"compile": True, "weights": "DEFAULT"}, "x", weights
    )
