"""Distillation from the command line: what a run records, what it leaves behind, and what it can be combined with."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback
from torch import nn

from project import models
from project.analysis.opening import open_run
from project.cli import main
from project.errors import CheckpointError
from project.losses.distillation import LOSSES
from project.models import Backbone
from project.runs.checkpoints import read_checkpoint
from project.tasks import Classifier, Distiller
from project.tasks.teacher import Teacher

PLAIN = ("--trainer.precision", "32-true", "--trainer.accelerator", "cpu", "--trainer.devices", 1)
SLOW = ("--model.lr_scheduler", "null", "--model.optimizer.lr", 0.02)


@pytest.fixture(scope="module")
def images(tmp_path_factory, image_tree) -> Path:
    """Three classes in three splits, of 16, 5 and 4 images a class; not to be written to."""
    folder = tmp_path_factory.mktemp("distiller") / "images"
    for split, count in (("train", 16), ("val", 5), ("test", 4)):
        image_tree(folder / split, count)
    return folder


@pytest.fixture(scope="module")
def teacher(images, fit_options) -> Path:
    """The run of a classifier that knows them all; not to be written to."""
    torch.set_num_threads(1)
    root = images.parent
    more = ("--model.backbone_options", '{"width": 8}', "--trainer.max_epochs", 6, "--data.cache_dir", root / "cache")
    main([*fit_options(images, root / "runs", *more), "--progress", "none"])
    return root / "runs" / "r" / "version_0"


@pytest.fixture
def options(images, fit_options, teacher, tmp_path):
    """The arguments of a fit of a student: (*more, root, source, data)."""

    def arguments(*more: object, root: str = "runs", source: object = teacher, data: Path = images) -> list[str]:
        found = fit_options(data, tmp_path / root, "--model.teacher", source, *SLOW, *more)
        found[found.index("Classifier")] = "Distiller"
        return found

    return arguments


@pytest.fixture
def distill(run, options, tmp_path):
    """Fits a student; returns its directory."""

    def fit(*more: object, root: str = "runs", **others: object) -> Path:
        assert run(*options(*more, root=root, **others)) == 0
        return max((tmp_path / root / "r").iterdir())

    return fit


def losses(*names: str, **options: object) -> tuple[str, str]:
    small = {"crd": {"options": {"size": 4, "negatives": 8}}}
    return "--model.losses", json.dumps([{"name": name} | small.get(name, {}) | options for name in names])


def saved(directory: Path, which: str = "last") -> dict:
    return read_checkpoint(directory / "checkpoints" / f"{which}.ckpt")


def rows(directory: Path) -> list[dict[str, str]]:
    with open(directory / "metrics.csv") as file:
        return list(csv.DictReader(file))


def metrics(directory: Path, verb: str = "test", which: str = "") -> dict[str, float]:
    found = json.loads((directory / f"{verb}_metrics{which}.json").read_text())
    return {name: value for name, value in found.items() if "/" in name}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


def guesses(path: Path, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """What a classifier says of all images of a split, image by image, and what they are."""
    files = sorted(folder.rglob("*.png"))
    said = [answer["label"] for answer in Classifier.load_from_checkpoint(path).predict(files)]
    return np.array(said), np.array([file.parent.name for file in files])


# ---- what a run is


def test_a_run_holds_the_student_alone(distill, teacher, caplog):
    before = {path.name: path.read_bytes() for path in (teacher / "checkpoints").iterdir()}
    directory = distill("--ema.decay", 0.5)
    said = [record.getMessage() for record in caplog.records]
    assert f"teacher: {teacher}: accuracy 1.0000 on the validation split" in said
    plain = Classifier(["a", "b", "c"], 12, backbone_options={"width": 4})
    for which in ("best", "last"):
        checkpoint = torch.load(directory / "checkpoints" / f"{which}.ckpt", weights_only=True)
        assert checkpoint["task"] == "Distiller"
        assert {name: value.shape for name, value in checkpoint["state_dict"].items()} == {
            name: value.shape for name, value in plain.state_dict().items()
        }
        assert checkpoint["distillation"] == {}  # kd learns nothing
        assert checkpoint["hyper_parameters"]["teacher"] == str(teacher)
        (state,) = checkpoint["optimizer_states"]
        momenta = [entry["momentum_buffer"].numel() for entry in state["state"].values()]
        assert sum(momenta) == sum(parameter.numel() for parameter in plain.parameters())
        assert checkpoint["raw_weights"]["weights"].keys() <= plain.state_dict().keys()
    assert {path.name: path.read_bytes() for path in (teacher / "checkpoints").iterdir()} == before


def test_every_epoch_says_how_the_student_learns(distill):
    directory = distill(*losses("kd", "rkd", weight=0.5))
    for row in rows(directory):
        weighted = {name: float(row[f"train/weighted_{name}"]) for name in ("labels", "kd", "rkd")}
        raw = {name: float(row[f"train/loss_{name}"]) for name in weighted}
        factors = {"labels": 1.0, "kd": 0.5, "rkd": 0.5}
        assert weighted == pytest.approx({name: factors[name] * value for name, value in raw.items()}, rel=1e-5)
        assert float(row["train/loss"]) == pytest.approx(sum(weighted.values()), rel=1e-5)
        assert 0 <= float(row["train/agreement"]) <= 1
        assert float(row["train/teacher_kl"]) > 0
        assert float(row["val/teacher_accuracy"]) == 1
    assert {name for name in rows(directory)[0] if name.startswith("train/")} == {
        "train/loss", "train/accuracy", "train/agreement", "train/teacher_kl",
        *(f"train/{kind}_{name}" for kind in ("loss", "weighted") for name in weighted),
    }  # fmt: skip


def test_training_moves_the_student_to_its_teacher(distill):
    """Without labels, what it comes to know it knows from the teacher."""
    more = ("--model.optimizer.lr", 0.05, "--trainer.max_epochs", 12, "--model.label_weight", 0,
            "--model.lr_scheduler", "OneCycle", "--model.lr_scheduler.warmup", 0.25)  # fmt: skip
    first, *_, last = rows(distill(*more))
    assert float(last["train/teacher_kl"]) < 0.3 * float(first["train/teacher_kl"])
    assert float(last["train/agreement"]) > 0.9 > float(first["train/agreement"])
    assert float(last["val/agreement"]) > 0.8 > float(first["val/agreement"])


@pytest.mark.parametrize("storage", ["resident", "stream"])
def test_accuracy_and_agreement_are_what_both_say_image_by_image(run, distill, images, teacher, tmp_path, storage):
    weak = tmp_path / "weak.ckpt"
    task = Classifier.load_from_checkpoint(teacher / "checkpoints" / "best.ckpt")
    for parameter in task.network.head.parameters():
        parameter.data = parameter.data[[1, 0, 2]]  # which takes two classes for each other
    facts = {"task": "Classifier", "hyper_parameters": dict(task.hparams), "state_dict": task.state_dict()}
    torch.save(facts, weak)
    directory = distill("--data.storage", storage, "--data.eval_batch_size", 4, "--trainer.max_epochs", 6,
                        "--model.optimizer.lr", 0.1, source=weak)  # fmt: skip
    best = directory / "checkpoints" / "best.ckpt"
    assert saved(directory, "best")["global_step"] > 3
    assert run("test", "--ckpt_path", directory, *PLAIN, "--data.eval_batch_size", 5) == 0
    assert run("validate", "--ckpt_path", directory, *PLAIN) == 0
    last = {name: float(rows(directory)[-1][f"val/{name}"]) for name in ("accuracy", "teacher_accuracy", "agreement")}
    for split, path, found in (
        ("test", best, {name.removeprefix("test/"): value for name, value in metrics(directory).items()}),
        ("val", best, {name.removeprefix("val/"): value for name, value in metrics(directory, "validate").items()}),
        ("val", directory / "checkpoints" / "last.ckpt", last),
    ):
        (student, labels), (taught, _) = (guesses(each, images / split) for each in (path, weak))
        assert found["accuracy"] == pytest.approx((student == labels).mean())
        assert found["teacher_accuracy"] == pytest.approx((taught == labels).mean())
        assert found["agreement"] == pytest.approx((student == taught).mean())
        assert 0 < found["teacher_accuracy"] < 1


LOOKS: list[tuple[str, bool]] = []


class Look(Callback):
    """Keeps the teacher's fingerprint, and whether it trains or is owned."""

    def _look(self, trainer, pl_module):
        modules = [module for member in pl_module._teacher.members for module in member.modules()]
        owned = {id(module) for module in pl_module.modules()} & {id(module) for module in modules}
        parameters = [parameter for module in modules for parameter in module.parameters()]
        learning = {id(p) for group in (trainer.optimizers or []) for g in group.param_groups for p in g["params"]}
        changing = any(module.training for module in modules) or any(p.requires_grad for p in parameters)
        in_use = bool(owned) or bool(learning & {id(parameter) for parameter in parameters})
        LOOKS.append((pl_module._teacher.fingerprint(), changing or in_use))

    on_fit_start = on_train_start = on_validation_end = on_train_batch_end = on_test_end = on_train_end = (
        lambda self, trainer, pl_module, *args: self._look(trainer, pl_module)
    )


@pytest.mark.parametrize("names", [("kd",), ("fitnets", "vid"), ("simkd",)], ids="+".join)
def test_nothing_changes_the_teacher(run, distill, teacher, names):
    LOOKS.clear()
    look = ("--trainer.callbacks", json.dumps([{"class_path": f"{__name__}.Look"}]))
    more = (*losses(*names, weight=0.1), "--ema.decay", 0.5, *look)
    directory = distill(*more)
    assert run("fit", "--ckpt_path", directory, "--trainer.max_epochs", 3, *look) == 0
    for verb in ("validate", "test"):
        assert run(verb, "--ckpt_path", directory, *PLAIN, *look) == 0
    member = Classifier.load_from_checkpoint(teacher / "checkpoints" / "best.ckpt")
    assert set(LOOKS) == {(Teacher([member], member.class_names).fingerprint(), False)}
    assert len(LOOKS) > 15


# ---- what it leaves behind


def test_the_student_is_a_plain_classifier_for_every_command(run, fails, distill, images, fit_options, tmp_path):
    directory = distill("--model.label_smoothing", 0.1, "--trainer.max_epochs", 4)
    path, best = directory / "checkpoints" / "student.ckpt", saved(directory, "best")
    plain = torch.load(path, weights_only=True)
    assert plain["task"] == "Classifier"
    assert same(plain["state_dict"], best["state_dict"])
    assert not set(Distiller.own_options) & plain["hyper_parameters"].keys()
    assert "teacher" not in json.dumps(plain["config"]["model"])
    assert not {"optimizer_states", "loops", "distillation"} & plain.keys()
    assert plain["callbacks"] == {"SaveCheckpoints": best["callbacks"]["SaveCheckpoints"]}
    assert path.stat().st_size < (directory / "checkpoints" / "best.ckpt").stat().st_size
    task = Classifier.load_from_checkpoint(path)
    assert type(task) is Classifier
    files = sorted((images / "test").rglob("*.png"))
    assert task.predict(files) == Distiller.load_from_checkpoint(directory / "checkpoints" / "best.ckpt").predict(files)
    found = {}
    for source, which in ((directory, ""), (path, "_student")):  # into the same directory, one after the other
        for verb in ("validate", "test"):
            assert run(verb, "--ckpt_path", source, *PLAIN) == 0
        assert run("predict", "--ckpt_path", source, "--data.predict", images, *PLAIN) == 0
        said = (directory / ("predictions_1" if which else ".") / "predictions.jsonl").read_text()
        found[source] = [*(metrics(directory, verb, which) for verb in ("validate", "test")), said]
    assert "test/teacher_accuracy" in metrics(directory)
    both = ("teacher_accuracy", "agreement")
    for one, other, stage in zip(found[directory][:2], found[path][:2], ("val", "test"), strict=True):
        assert one == other | {f"{stage}/{name}": one[f"{stage}/{name}"] for name in both}
    assert found[directory][2] == found[path][2]
    assert run(*fit_options(images, tmp_path / "new", "--model.init_from", path)) == 0
    line = fails("fit", "--ckpt_path", path, "--trainer.max_epochs", 8)
    assert line == (f"error: ckpt_path: {path}: holds weights and no state of training to go on with; start a new run "
                    "from them with --model.init_from")  # fmt: skip


def test_only_learning_and_measuring_need_the_teacher(run, fails, distill, images, teacher, tmp_path):
    copy = Path(shutil.copytree(teacher, tmp_path / "teacher"))
    directory = distill(source=copy)
    shutil.rmtree(copy)
    assert run("predict", "--ckpt_path", directory, "--data.predict", images, *PLAIN) == 0
    for arguments in (("test", *PLAIN), ("validate", *PLAIN), ("fit", "--trainer.max_epochs", 3)):
        line = fails(*arguments, "--ckpt_path", directory)
        assert line.startswith(f"error: model.teacher: {copy}: there is no such checkpoint or run; ")


@pytest.mark.parametrize("which", ["the run", "the student"])
def test_a_student_teaches_the_next_generation(distill, which):
    first = distill("--trainer.max_epochs", 4, "--model.optimizer.lr", 0.1, root="first")
    source = first if which == "the run" else first / "checkpoints" / "student.ckpt"
    again = distill(source=source, root="second")
    assert saved(again)["hyper_parameters"]["teacher"] == str(source)
    assert [float(row["val/teacher_accuracy"]) for row in rows(again)] == pytest.approx([best_accuracy(first)] * 2)


def best_accuracy(directory: Path) -> float:
    return max(float(row["val/accuracy"]) for row in rows(directory))


def test_several_teachers_teach_together(run, distill, teacher):
    both = [str(teacher), str(teacher / "checkpoints" / "last.ckpt")]
    directory = distill(source=json.dumps(both))
    assert saved(directory)["hyper_parameters"]["teacher"] == both
    assert run("test", "--ckpt_path", directory, *PLAIN) == 0
    assert metrics(directory)["test/teacher_accuracy"] == 1


def test_a_full_disk_leaves_the_earlier_student(run, options, small_files_only, tmp_path):
    class_path = f"{__name__}.FullDisk"
    size = 20_000
    arguments = json.dumps([{"class_path": class_path, "init_args": {"size": size}}])
    FullDisk.limited = small_files_only
    assert run(*options("--trainer.callbacks", arguments, "--trainer.max_epochs", 3, "--watch.pictures", 0)) == 0
    directory = tmp_path / "runs" / "r" / "version_0"
    steps = {which: saved(directory, which)["global_step"] for which in ("best", "last", "student")}
    assert steps == {"best": 3, "last": 3, "student": 3}


class FullDisk(Callback):
    """From the second epoch on no file can grow beyond `size` bytes."""

    limited = None

    def __init__(self, size: int) -> None:
        self.size = size

    def on_train_epoch_start(self, trainer, pl_module):
        if trainer.current_epoch == 1:
            self.inside = FullDisk.limited(self.size)
            self.inside.__enter__()

    def teardown(self, trainer, pl_module, stage):
        self.inside.__exit__(None, None, None)


# ---- all losses


STARTS: list[dict[str, torch.Tensor]] = []


class Start(Callback):
    """Keeps what the losses have before they learn, of what learns."""

    def on_train_start(self, trainer, pl_module):
        learned = pl_module.distillation.named_parameters()
        STARTS.append({name: value.detach().clone() for name, value in learned if value.requires_grad})


class StopAt(Callback):
    """Sends this process a signal, once, at a step."""

    def __init__(self, step: int) -> None:
        self.step, self.sent = step, False

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_step == self.step and not self.sent:
            self.sent = True
            os.kill(os.getpid(), signal.SIGTERM)


LEARNING = {"fitnets", "vid", "review_kd", "simkd", "crd"}


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_trains_and_goes_on_where_it_stopped(run, distill, options, tmp_path, name):
    STARTS.clear()
    start = ("--trainer.callbacks", json.dumps([{"class_path": f"{__name__}.Start"}]))
    more = (*losses(name, weight=0.01), "--model.label_weight", 1)
    whole = distill(*more, *start, root="whole")
    one, best = saved(whole), saved(whole, "best")
    plain = Classifier(["a", "b", "c"], 12, backbone_options={"width": 4}).state_dict()
    assert one["state_dict"].keys() == best["state_dict"].keys() == plain.keys()
    assert (whole / "checkpoints" / "student.ckpt").exists() == (name != "simkd")
    assert float(rows(whole)[-1][f"train/loss_{name}"]) > 0
    assert (name in LEARNING) == bool(STARTS[0])
    for parameter, value in STARTS[0].items():
        assert not torch.equal(one["distillation"][parameter], value), parameter
    if name == "crd":
        assert not torch.equal(one["distillation"]["learned.crd.log_normalisers"],
                               torch.full((2,), torch.nan))  # fmt: skip
    if name in LEARNING | {"kd"}:
        stop = ("--trainer.callbacks", json.dumps([{"class_path": f"{__name__}.StopAt", "init_args": {"step": 4}}]))
        assert run(*options(*more, *stop, root="parts")) == 143
        parts = distill(*more, "--ckpt_path", "last", "--trainer.callbacks", "null", root="parts")
        other = saved(parts)
        assert same(one["state_dict"], other["state_dict"])
        assert same(one["distillation"], other["distillation"])
        assert rows(whole) == rows(parts)


def test_a_checkpoint_goes_with_the_losses_that_learned_in_it(run, fails, distill):
    directory = distill(*losses("fitnets", weight=0.01))
    line = fails("fit", "--ckpt_path", directory, "--trainer.max_epochs", 3, *losses("kd"))
    assert line.startswith("error: model.losses: ")
    assert "contradicts the checkpoint's" in line
    assert "--model.init_from" in line
    assert run("fit", "--ckpt_path", directory, "--trainer.max_epochs", 3) == 0  # which is as it was


@pytest.mark.parametrize("more", [(), ("--ema.decay", 0.5)], ids=["raw", "averaged"])
def test_with_simkd_the_teachers_classifier_answers(run, distill, images, more):
    directory = distill(*losses("simkd", "crd", weight=0.1), "--model.label_weight", 1, "--trainer.max_epochs", 6,
                        "--model.optimizer.lr", 0.1, *more)  # fmt: skip
    assert run("validate", "--ckpt_path", directory, *PLAIN) == 0
    assert metrics(directory, "validate")["val/accuracy"] == pytest.approx(best_accuracy(directory))
    assert best_accuracy(directory) > 0.6
    assert run("test", "--ckpt_path", directory, *PLAIN) == 0
    found = metrics(directory)
    assert run("predict", "--ckpt_path", directory, "--data.predict", images / "test", *PLAIN) == 0
    said = [json.loads(line) for line in (directory / "predictions.jsonl").read_text().splitlines()]
    right = [Path(answer["path"]).parent.name == answer["label"] for answer in said]
    assert found["test/accuracy"] == pytest.approx(np.mean(right))


def test_the_teachers_classifier_cannot_be_done_without(fails, distill, options, images):
    directory = distill(*losses("simkd"))
    with pytest.raises(CheckpointError, match=r"^model\.losses: with simkd the student answers through the teacher's"):
        Distiller.load_from_checkpoint(directory / "checkpoints" / "best.ckpt").predict([images / "test/a/00.png"])
    line = fails(*options(source=directory))
    assert line.startswith(f"error: model.teacher: {directory} answers through its own teacher's classifier (simkd)")


# ---- with other methods


METHODS = {
    "sam": ("--model.sam", 0.05),
    "accumulation": ("--trainer.accumulate_grad_batches", 2),
    "average": ("--ema.decay", 0.9),
    "mixed": ("--data.augment.mixup", 0.5, "--data.augment.cutmix", 0.5),
    "bf16-mixed": ("--trainer.precision", "bf16-mixed"),
    "bf16-true": ("--trainer.precision", "bf16-true"),
    "views": (
        "--model.tta",
        "flip",
        "--data.augment.policy",
        "trivial",
        "--data.augment.crop",
        1,
        "--data.train_size",
        16,
    ),
    "frozen": ("--model.fine_tuning", '{"head_epochs": 1, "unfreeze_epochs": 1}'),
}


@pytest.mark.parametrize(
    "method",
    [
        pytest.param(name, marks=pytest.mark.slow if name in ("accumulation", "mixed", "views", "frozen") else ())
        for name in METHODS
    ],
)
def test_it_goes_with_other_methods_of_training(run, distill, images, method):
    more = (*losses("kd", "fitnets", weight=0.01), *METHODS[method])
    whole, parts = distill(*more, root="whole"), distill(*more, "--trainer.max_epochs", 1, root="parts")
    assert all(np.isfinite(float(value)) for row in rows(whole) for value in row.values() if value)
    assert run("fit", "--ckpt_path", parts, "--trainer.max_epochs", 2) == 0
    one, other = saved(whole), saved(parts)
    assert same(one["state_dict"], other["state_dict"])
    assert same(one["distillation"], other["distillation"])
    assert one["distillation"]
    plain = Classifier(["a", "b", "c"], 12, backbone_options={"width": 4})
    assert one["state_dict"].keys() == plain.state_dict().keys()
    for verb in ("validate", "test", "predict"):
        assert run(verb, "--ckpt_path", whole, "--data.predict", images / "test") == 0
    Distiller.load_from_checkpoint(whole / "checkpoints" / "best.ckpt").predict([images / "test/a/00.png"])


def tiny(num_classes: int, image_size: int) -> Backbone:
    """One of each kind of layer, since compilation takes seconds a layer."""
    stage = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.BatchNorm2d(4), nn.ReLU())
    return Backbone({"only": stage}, nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), 4, num_classes)


@pytest.mark.slow
def test_compiled_networks_are_the_same_networks(distill, fit_options, run, images, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "inductor"))
    monkeypatch.setitem(models.BACKBONES, "tiny", tiny)
    network = ("--model.backbone", "tiny", "--model.backbone_options", "{}", "--trainer.max_epochs", 1)
    assert run(*fit_options(images, tmp_path / "taught", *network)) == 0
    source = tmp_path / "taught" / "r" / "version_0"
    inside = {"student_stage": "stages.only.1", "teacher_stage": "stages.only.1"}
    terms = [{"name": "kd"}, {"name": "fitnets", "weight": 0.1, "options": inside}]
    more = (*network, "--model.allowed_drop", 1, "--model.losses", json.dumps(terms))
    eager = distill(*more, source=source, root="eager")
    compiled = distill(*more, "--model.compile", "true", "--model.compile_teacher", "true", source=source,
                       root="compiled")  # fmt: skip
    assert any((tmp_path / "inductor").rglob("*.cpp"))  # or nothing was compiled
    one, other = saved(eager)["state_dict"], saved(compiled)["state_dict"]
    assert list(one) == list(other)
    for name, value in one.items():
        if name != "temperature":
            torch.testing.assert_close(other[name], value, rtol=1e-4, atol=1e-4, msg=name)
    for name in ("train/loss", "train/loss_kd", "train/loss_fitnets", "train/teacher_kl"):
        assert float(rows(compiled)[0][name]) == pytest.approx(float(rows(eager)[0][name]), rel=1e-3)


@pytest.mark.parametrize("option", ["compile", "compile_teacher"])
def test_without_a_compiler_it_says_so(fails, options, monkeypatch, option):
    monkeypatch.setattr("shutil.which", lambda name: None)
    line = fails(*options(f"--model.{option}", "true"))
    assert line.startswith(f"error: model.{option}: needs a C++ compiler such as g++")


# ---- what is refused


def swapped(images: Path, folder: Path) -> Path:
    """The same images under each other's names."""
    other = Path(shutil.copytree(images, folder / "swapped"))
    for split in ("train", "val", "test"):
        for old, new in (("a", "x"), ("c", "a"), ("x", "c")):
            (other / split / old).rename(other / split / new)
    return other


def test_a_teacher_that_is_worse_than_it_was_is_refused(run, fails, options, images, teacher, tmp_path):
    data = swapped(images, tmp_path)
    line = fails(*options(data=data))
    assert line == (f"error: model.teacher: {teacher}: accuracy 0.3333 on the validation split, and its own run found "
                    "1.0000; are data, preprocessing and options the same? If so, raise model.allowed_drop")  # fmt: skip
    assert not (tmp_path / "runs").exists()
    assert run(*options("--model.allowed_drop", 0.7, data=data)) == 0


def test_each_of_several_teachers_and_an_exported_student_are_compared_with_what_they_were(
    run, fails, distill, options, teacher, images, tmp_path
):
    assert "accuracy 0.3333" in fails(*options(source=json.dumps([str(teacher)] * 2), data=swapped(images, tmp_path)))
    best = saved(distill("--trainer.max_epochs", 6), "best")["callbacks"]["SaveCheckpoints"]["best_value"]
    student = tmp_path / "runs" / "r" / "version_0" / "checkpoints" / "student.ckpt"
    line = fails(*options(source=student, data=tmp_path / "swapped"))
    assert f"{student}: accuracy " in line
    assert f"its own run found {best:.4f}; are data" in line


def test_a_teacher_with_another_normalisation_is_refused(fails, options, teacher, tmp_path):
    checkpoint = saved(teacher, "best")
    checkpoint["hyper_parameters"] |= {"mean": [0.9, 0.9, 0.9], "std": [0.1, 0.1, 0.1]}
    checkpoint["state_dict"] = {n: v for n, v in checkpoint["state_dict"].items() if not n.startswith("normalize.")}
    torch.save(checkpoint, tmp_path / "other.ckpt")
    assert "and its own run found 1.0000; are data" in fails(*options(source=tmp_path / "other.ckpt"))


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("label_weight", -1, "error: model.label_weight: must be at least 0; got -1"),
        ("losses", "[]", "error: model.losses: name one or more"),
        ("losses", '[{"name": "kdd"}]', "error: model.losses: there is no 'kdd'; did you mean 'kd'?"),
        ("losses", '[{"name": "kd", "options": {"temperature": 0}}]', "error: model.losses.kd.options.temperature"),
        ("losses", '[{"name": "at", "options": {"student_stages": ["x"]}}]', "error: model.losses.at.options"),
        ("cache_gib", -1, "error: model.cache_gib: must be at least 0"),
        ("teacher", "none.ckpt", "error: model.teacher: none.ckpt: there is no such checkpoint or run; give one, "),
        ("teacher", "none.yaml", "error: config: none.yaml: cannot be read (No such file or directory)"),
        ("teacher", "resnet18:V9", "error: model.teacher: there is no 'V9' for resnet18; "),
        ("teacher", "resnet18:DEFAULT", "error: model.teacher: resnet18:DEFAULT does not know 3 of the 3 classes; "),
    ],
)
def test_a_mistake_is_one_line(fails, options, tmp_path, option, value, message):
    assert fails(*options(f"--model.{option}", value)).startswith(message)
    assert not (tmp_path / "runs").exists()


def test_a_captioner_and_other_classes_do_not_teach(fails, run, options, image_tree, fit_options, captioned,
                                                    caption_options, tmp_path):  # fmt: skip
    assert run(*caption_options(captioned, tmp_path / "captions", "--trainer.max_epochs", 1)) == 0
    source = tmp_path / "captions" / "c" / "version_0"
    line = fails(*options(source=source))
    assert line == f"error: model.teacher: {source} holds a Captioner; a Classifier is needed"
    data = image_tree(tmp_path / "others", classes=("a", "b", "d"))
    assert "it does not know 'd'" in fails(*options(data=data))


def test_relative_paths_of_a_run_are_found_from_another_directory(
    run, fit_options, images, teacher, tmp_path, monkeypatch
):
    """Of the teacher, and of the images."""
    (tmp_path / "work").mkdir()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    given = fit_options(os.path.relpath(images), "runs", "--model.teacher", os.path.relpath(teacher))
    given[given.index("Classifier")] = "Distiller"
    assert run(*given) == 0
    monkeypatch.chdir(tmp_path / "elsewhere")
    directory = tmp_path / "work" / "runs" / "r" / "version_0"
    assert run("test", "--ckpt_path", directory, *PLAIN) == 0
    assert metrics(directory)["test/teacher_accuracy"] > 0
    assert run("test", "--ckpt_path", directory / "checkpoints" / "student.ckpt", *PLAIN) == 0
    assert run("fit", "--ckpt_path", directory, "--trainer.max_epochs", 3) == 0
    assert len(open_run(directory).data.splits["test"]) == 12
    monkeypatch.chdir(tmp_path)
    assert run("test", "--ckpt_path", directory, *PLAIN) == 0
