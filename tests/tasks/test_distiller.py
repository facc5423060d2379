"""Distillation of classifiers: its loss by hand, what it records and what it leaves behind."""

from __future__ import annotations

import json

import pytest
import torch

from project.losses.distillation import LOSSES, LossTerm
from project.runs.checkpoints import read_checkpoint
from project.tasks import Classifier, Distiller

FEATURES = {"fitnets", "at", "sp", "vid", "review_kd", "simkd", "crd"}


@pytest.fixture
def distill(run, trained, trained_images, fit_options, tmp_path):
    """Distils the trained classifier into a smaller one; returns the run's directory."""

    def fit(*options: object, name: str = "student"):
        given = fit_options(
            trained_images, tmp_path / name, "--model.teacher", trained, "--model.allowed_drop", 1, *options
        )
        given[given.index("Classifier")] = "Distiller"
        assert run(*given, "--data.cache_dir", tmp_path / "cache") == 0
        return tmp_path / name / "r" / "version_0"

    return fit


def test_the_loss_of_a_step_by_hand(trained, trained_images):
    from lightning.pytorch import Callback, Trainer

    from project.data import ImageFolder

    data = ImageFolder(str(trained_images), image_size=12, batch_size=16, num_workers=0)
    terms = [LossTerm("kd", weight=0.7, options={"temperature": 3.0})]
    task = Distiller(
        data.class_names, 12, str(trained), terms, label_weight=0.4, allowed_drop=1.0, cache=False,
        backbone_options={"width": 4}, optimizer=lambda p: torch.optim.SGD(p, lr=0.0), lr_scheduler=None,
    )  # fmt: skip
    found: list[tuple[float, float]] = []

    class ByHand(Callback):
        def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
            with torch.no_grad():
                student = module(batch.images).double()  # the rate is zero: the weights are the step's
                teacher = Classifier.load_from_checkpoint(trained / "checkpoints" / "best.ckpt")(batch.images).double()
            labels = -student.log_softmax(1)[range(len(batch.labels)), batch.labels].mean()
            p, q = (teacher / 3).softmax(1), (student / 3).softmax(1)
            divergence = (p * (p.log() - q.log())).sum(1).mean()
            found.append((outputs["loss"].item(), (0.4 * labels + 0.7 * 9 * divergence).item()))

    Trainer(
        accelerator="cpu", devices=1, max_epochs=1, logger=False, enable_checkpointing=False, callbacks=[ByHand()],
        enable_progress_bar=False, enable_model_summary=False,
    ).fit(task, data)  # fmt: skip
    assert len(found) == 3
    for ours, expected in found:
        assert ours == pytest.approx(expected, rel=1e-5)


def test_checkpoints_hold_the_student_alone_and_it_opens_as_a_classifier(
    run, distill, trained, trained_images, tmp_path
):
    teacher = read_checkpoint(trained / "checkpoints" / "best.ckpt")["state_dict"]
    folder = distill("--model.backbone_options", '{"width": 2}')
    for name in ("best", "last", "student"):
        state = read_checkpoint(folder / "checkpoints" / f"{name}.ckpt")["state_dict"]
        assert state.keys() == teacher.keys()
        assert state["network.head.weight"].shape[1] == teacher["network.head.weight"].shape[1] // 2
    path = folder / "checkpoints" / "student.ckpt"
    student = Classifier.load_from_checkpoint(path)
    assert type(student) is Classifier
    best = Distiller.load_from_checkpoint(folder / "checkpoints" / "best.ckpt")
    images = sorted(trained_images.rglob("*.png"))[::7]
    assert student.predict(images) == best.predict(images)
    root = ("--trainer.default_root_dir", tmp_path / "tests", "--name", "t")
    assert run("test", "--ckpt_path", path, "--data.root", trained_images, *root) == 0
    assert run("predict", "--ckpt_path", path, "--data.predict", trained_images / "a", *root) == 0


def test_what_is_recorded(run, distill, trained_images):
    folder = distill("--model.losses", '[{"name": "kd"}, {"name": "rkd", "weight": 0.5}]')
    header = (folder / "metrics.csv").read_text().splitlines()[0].split(",")
    assert {
        "train/loss", "train/accuracy", "train/agreement", "train/teacher_kl", "train/loss_labels",
        "train/weighted_labels", "train/loss_kd", "train/weighted_kd", "train/loss_rkd", "train/weighted_rkd",
        "val/accuracy", "val/teacher_accuracy", "val/agreement",
    } <= set(header)  # fmt: skip
    assert run("test", "--ckpt_path", folder, "--data.root", trained_images) == 0
    metrics = json.loads((folder / "test_metrics.json").read_text())
    assert {"test/accuracy", "test/teacher_accuracy", "test/agreement"} <= metrics.keys()


def test_a_student_that_is_its_teacher_has_nothing_to_learn(distill, trained):
    best = trained / "checkpoints" / "best.ckpt"
    options = ("--model.init_from", best, "--model.optimizer.lr", 0.0, "--model.label_weight", 0)
    folder = distill(*options, "--trainer.max_epochs", 1)
    lines = [line.split(",") for line in (folder / "metrics.csv").read_text().splitlines()]
    row = dict(zip(lines[0], lines[-1], strict=True))
    assert float(row["val/agreement"]) > 0.8  # batch norms see batches in training, so that it is not exactly the same


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_trains_and_goes_on_where_it_was(run, distill, fit_options, trained, trained_images, tmp_path, name):
    losses = [{"name": name, "weight": 0.01} | ({"options": {"negatives": 8, "size": 4}} if name == "crd" else {})]
    options = ("--model.losses", json.dumps(losses), "--model.label_weight", 1, "--model.lr_scheduler", "null")
    whole = distill(*options, "--trainer.max_epochs", 2, name="whole")
    distill(*options, "--trainer.max_epochs", 1, name="parts")
    parts = distill(*options, "--trainer.max_epochs", 2, "--ckpt_path", "last", name="parts")
    one, other = (read_checkpoint(folder / "checkpoints" / "last.ckpt") for folder in (whole, parts))
    for part in ("state_dict", "distillation"):
        assert one[part].keys() == other[part].keys()
        assert all(torch.equal(value, other[part][key]) for key, value in one[part].items())
    assert (whole / "checkpoints" / "student.ckpt").exists() == (name != "simkd")
    assert run("test", "--ckpt_path", whole, "--data.root", trained_images) == 0
    if name == "simkd":
        with pytest.raises(Exception, match="with simkd the student answers through the teacher's classifier"):
            Distiller.load_from_checkpoint(whole / "checkpoints" / "best.ckpt").predict(
                [trained_images / "a" / "00.png"]
            )


def test_a_teacher_that_is_worse_than_it_was_is_refused(fails, trained, image_tree, fit_options, tmp_path):
    other = image_tree(tmp_path / "other", classes=("c", "b", "a"))  # the same names, told by other brightness
    for old, new in (("a", "x"), ("c", "a"), ("x", "c")):
        (other / old).rename(other / new)
    options = fit_options(other, tmp_path / "runs", "--model.teacher", trained)
    options[options.index("Classifier")] = "Distiller"
    line = fails(*options)
    assert "on the validation split, and recorded" in line
    assert "raise model.allowed_drop" in line


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("label_weight", -1, "error: model.label_weight: must be at least 0; got -1"),
        ("losses", "[]", "error: model.losses: name one or more"),
        ("losses", '[{"name": "kdd"}]', "error: model.losses: there is no 'kdd'; did you mean 'kd'?"),
        ("losses", '[{"name": "kd", "options": {"temperature": 0}}]', "error: model.losses.kd.options.temperature"),
        ("losses", '[{"name": "at", "options": {"student_stages": ["x"]}}]', "error: model.losses.at.options"),
        ("cache_gib", -1, "error: model.cache_gib: must be at least 0"),
    ],
)
def test_a_mistake_is_one_line(fails, trained, trained_images, fit_options, tmp_path, option, value, message):
    options = fit_options(trained_images, tmp_path / "runs", "--model.teacher", trained, f"--model.{option}", value)
    options[options.index("Classifier")] = "Distiller"
    assert fails(*options).startswith(message)
