"""What every task shares: checkpoints that need no command line, warm starts, runs that stop when they are done or diverge."""

from __future__ import annotations

import csv
import json
import os
import pickle
import pickletools
import subprocess
import sys
import zipfile
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import CSVLogger
from torch.utils.data import DataLoader, TensorDataset

from project.data import ImageFolder
from project.data.batch import Batch
from project.errors import CheckpointError, ConfigError, DataError, NonFiniteError
from project.runs.checkpoints import read_checkpoint
from project.runs.undeclared import data_of
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


# ---- from Python

PLAIN = pytest.mark.filterwarnings(
    "ignore:The '.*_dataloader' does not have many workers", "ignore:The number of training batches",
    "ignore:You defined a `validation_step` but have no `val_dataloader`",
)  # fmt: skip


def quiet(**options) -> Trainer:
    given = {"max_epochs": 1, "accelerator": "cpu", "devices": 1, "logger": False, "enable_checkpointing": False}
    return Trainer(**given | options, enable_progress_bar=False, enable_model_summary=False)


def folder(images, **options) -> ImageFolder:
    return ImageFolder(**{"root": str(images), "image_size": 12, "batch_size": 16, "num_workers": 0} | options)


def small(classes=("a", "b", "c"), image_size=12, **options) -> Classifier:
    return Classifier(classes, image_size, backbone_options={"width": 4}, **options)


def loader(images, labels=None, batch_size=4) -> DataLoader:
    labels = torch.arange(len(images)) % 3 if labels is None else labels
    return DataLoader(TensorDataset(images, labels), batch_size)


def pixels(count=8, size=12) -> torch.Tensor:
    return torch.randint(256, (count, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("verb", ["fit", "validate", "test"])
@pytest.mark.parametrize(
    ("task", "data", "line"),
    [
        ({"image_size": 16}, {}, r"^data\.image_size: 12 contradicts the task's 16; build the task with image_size=data"),
        ({"classes": ["a", "c", "b"]}, {}, r"^data\.class_names: \['a', 'b', 'c'\] contradicts the task's \['a', 'c', 'b'\] "),
        ({"classes": ["a", "b"]}, {}, r"^data\.class_names: .* contradicts the task's \['a', 'b'\] \(3 and 2 names\)"),
        ({}, {"center_crop": 0.5}, r"^data\.center_crop: 0\.5 contradicts the task's 1\.0"),
    ],
)  # fmt: skip
def test_trainer_with_a_task_for_other_data_names_both_values(images, verb, task, data, line):
    task = small(**task)
    before = {name: value.clone() for name, value in task.state_dict().items()}
    with pytest.raises(ConfigError, match=line):
        getattr(quiet(), verb)(task, folder(images, **data))
    assert all(torch.equal(value, before[name]) for name, value in task.state_dict().items())


def test_trainer_returns_what_the_task_measured(images):
    task, trainer = small(), quiet()
    trainer.fit(task, folder(images))
    assert trainer.callback_metrics["val/accuracy"] == pytest.approx(task.results["val/accuracy"])
    for verb in ("validate", "test"):
        stage = verb.removesuffix("idate")
        (found,) = getattr(trainer, verb)(task, folder(images), verbose=False)
        assert found.keys() == trainer.callback_metrics.keys()
        assert {f"{stage}/accuracy", f"{stage}/loss", f"{stage}/ece"} <= found.keys()
        assert found == pytest.approx({name: task.results[name] for name in found})


def test_a_logger_gets_each_test_metric_once(images, tmp_path):
    logger = CSVLogger(tmp_path / "log", name="", version="")
    task, trainer = small(), quiet(logger=logger, log_every_n_steps=1)
    trainer.fit(task, folder(images))
    trainer.test(task, folder(images), verbose=False)
    assert column(tmp_path / "log", "test/accuracy") == pytest.approx([task.results["test/accuracy"]])


def test_untrained_weights_are_refused_until_they_are_trained_or_loaded(images):
    for verb in ("validate", "test"):
        with pytest.raises(
            CheckpointError, match=f"^{verb}: needs trained weights; fit the task first, give ckpt_path"
        ):
            getattr(quiet(), verb)(small(), folder(images))
    with pytest.raises(CheckpointError, match=r"^predict: needs trained weights"):
        quiet().predict(small(), DataLoader(pixels(), 4))
    trained = small()
    quiet().fit(trained, folder(images))
    quiet().test(trained, folder(images), verbose=False)
    loaded, marked = small(), small()
    loaded.load_state_dict(trained.state_dict())
    marked.is_trained = True
    for task in (loaded, marked):
        quiet().validate(task, folder(images), verbose=False)


@PLAIN
def test_plain_loaders_of_images_and_labels_train_test_and_predict(tmp_path):
    images, labels = pixels(12), torch.arange(12, dtype=torch.uint8) % 3
    for name, value in (("labels", labels), ("whole", labels.long())):
        torch.manual_seed(0)
        task, trainer = small(), quiet(max_epochs=2)
        trainer.fit(task, loader(images, value), loader(images, value))
        (found,) = trainer.test(task, loader(images, value), verbose=False)
        assert trainer.global_step == 6, name
    right = [
        int(answer["label"] == "abc"[k])
        for answer, k in zip(task.eval().predict(list(images.permute(0, 2, 3, 1).numpy())), labels, strict=True)
    ]
    assert found["test/accuracy"] == pytest.approx(np.mean(right))
    answers = trainer.predict(task, DataLoader(TensorDataset(images), 5))
    assert [answer for _, batch in answers for answer in batch] == trainer.predict(task, DataLoader(images, 12))[0][1]
    # the next call's loaders take the place of an earlier call's datamodule
    assert data_of(trainer) is None


@PLAIN
@pytest.mark.parametrize(
    ("batches", "line"),
    [
        (loader(pixels(size=16)), r"^loader: images must be uint8 \(B, 3, 12, 12\) in 0..255; got uint8 \(4, 3, 16, 16\); "),
        (loader(pixels().float() / 255), r"^loader: images must be uint8 .* got float32 \(4, 3, 12, 12\); the task normalises"),
        (loader(pixels()[:, :1]), r"^loader: images must be uint8 .* got uint8 \(4, 1, 12, 12\)"),
        (loader(pixels(), torch.arange(8)), r"^loader: label 3 is none of the task's 3 classes, 0\.\.2$"),
        (loader(pixels(), torch.full((8,), -1)), r"^loader: label -1 is none of the task's 3 classes, 0\.\.2$"),
        (loader(pixels(), torch.rand(8)), r"^loader: labels must be whole numbers \(4,\), one per image; got float32 \(4,\)$"),
        (DataLoader(pixels(), 4), r"^loader: a batch must be \(images, labels\), tensors; got uint8 \(4, 3, 12, 12\); or give"),
    ],
)  # fmt: skip
def test_plain_loaders_that_do_not_fit_the_network_are_refused(batches, line):
    with pytest.raises(DataError, match=line):
        quiet().fit(small(), batches)


@PLAIN
def test_what_needs_a_datamodule_says_so():
    for options, line in (
        ({"class_weights": "balanced"}, "^model.class_weights: 'balanced' needs the class counts of a datamodule"),
        (
            {"backbone": "airbench94"},
            "^model.backbone: its first weights follow from the training images, which only a data",
        ),
    ):
        with pytest.raises(ConfigError, match=line):
            quiet().fit(Classifier("abc", 12, **options), loader(pixels()))


@PLAIN
def test_loaders_of_a_datamodule_are_compared_without_it(images):
    data = folder(images)
    with pytest.raises(
        DataError, match=r"^loader: images must be uint8 \(B, 3, 16, 16\) in 0..255; got uint8 \(16, 3, 12, 12\)"
    ):
        quiet().fit(small(image_size=16), data.train_dataloader())


def test_loaders_and_batches_need_no_trainer(images):
    data = folder(images)
    assert [len(batch.labels) for batch in data.train_dataloader()] == [16, 16, 16]
    (batch,) = data.val_dataloader()
    (same,) = data.batches_in_order("val")
    assert batch.images.device.type == "cpu"
    assert torch.equal(batch.images, same.images)
    assert "train" not in str(data)  # Lightning's text lists the loaders of a datamodule that needs no Trainer


@pytest.mark.parametrize("trained_first", [False, True])
def test_a_task_is_pickled_with_its_defaults(images, trained_first):
    task = small()
    if trained_first:
        quiet().fit(task, folder(images))
    again = pickle.loads(pickle.dumps(task))
    assert again.make_optimizer is task.make_optimizer
    assert again.make_lr_scheduler is task.make_lr_scheduler
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in task.state_dict().items())
    given = small(optimizer=partial(torch.optim.Adam, lr=0.1), lr_scheduler=None)
    assert pickle.loads(pickle.dumps(given)).make_optimizer.keywords == {"lr": 0.1}
    with pytest.raises(ConfigError, match=r"^model\.optimizer: a lambda cannot be pickled; use functools\.partial"):
        pickle.dumps(small(optimizer=lambda groups: torch.optim.Adam(groups)))


@pytest.mark.parametrize("option", ["optimizer", "lr_scheduler"])
@pytest.mark.parametrize("value", [{"class_path": "torch.optim.Adam"}, "Adam", 0.1])
def test_an_optimizer_or_schedule_that_is_no_function_is_refused(option, value):
    with pytest.raises(
        ConfigError, match=rf"^model\.{option}: must be a function of .*, such as .*; got a {type(value).__name__}$"
    ):
        small(**{option: value})


SPAWNED = """
import sys
from lightning.pytorch import Trainer
from project.data import ImageFolder
from project.tasks import Classifier

if __name__ == "__main__":
    data = ImageFolder(root=sys.argv[1], image_size=12, batch_size=8, num_workers=0)
    task = Classifier(data.class_names, 12, backbone_options={"width": 4})
    trainer = Trainer(accelerator="cpu", devices=2, strategy="ddp_spawn", max_epochs=1, logger=False,
                      enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False)
    trainer.fit(task, data)
    (found,) = trainer.test(task, data, verbose=False)
    print("tested", 0 <= found["test/accuracy"] <= 1)
"""


@pytest.mark.slow
def test_ddp_spawn_trains_and_tests(images, tmp_path):
    script = tmp_path / "spawned.py"
    script.write_text(SPAWNED)
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, script, images], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert "tested True" in done.stdout
