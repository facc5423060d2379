"""Names that options monitor: known before training, unless somebody from outside may record them."""

from __future__ import annotations

import json

import pytest
from lightning.pytorch import Callback

from project.tasks import Classifier, Task

RECORDED: set[str] = set()


class Names(Callback):
    """Notes which metrics were recorded."""

    def on_train_end(self, trainer, pl_module):
        RECORDED.update(pl_module.results)
        RECORDED.add("train/loss_step")  # by `self.log` alone


class OneMore(Callback):
    """From outside; records one more."""

    def on_validation_epoch_end(self, trainer, pl_module):
        pl_module.record({"val/one_more": float(trainer.current_epoch)})


class Mine(Classifier):
    """A task from outside that records one more."""

    def on_validation_epoch_end(self):
        super().on_validation_epoch_end()
        self.record({"val/one_more": float(self.current_epoch)})


STOP = {"class_path": "EarlyStopping", "init_args": {"monitor": "val/acc"}}
PLATEAU = ("--model.lr_scheduler", "lightning.pytorch.cli.ReduceLROnPlateau", "--model.lr_scheduler.monitor", "val/acc")


@pytest.mark.parametrize(
    ("option", "start"),
    [
        (("--checkpoint.monitor", "val/acc"), "checkpoint.monitor: no metric 'val/acc'"),
        (("--checkpoint.monitor", "val/acc", "--early_stopping.patience", "3"), "checkpoint.monitor: no metric"),
        (("--checkpoint.monitor", "train/accuracy"), "checkpoint.monitor: no metric 'train/accuracy'"),
        (PLATEAU, "model.lr_scheduler.monitor: no metric 'val/acc'"),
        (("--trainer.callbacks", json.dumps([STOP])), "trainer.callbacks: EarlyStopping.monitor: no metric"),
    ],
)
def test_unknown_monitor_is_refused_before_anything_is_written(fails, images, fit_options, tmp_path, option, start):
    line = fails(*fit_options(images, tmp_path / "runs", *option))
    assert line.startswith(f"error: {start}")
    assert "did you mean 'val/accuracy'?" in line
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("monitor", ["val/f1", "val/temperature"])
def test_known_monitor_is_one_for_checkpoints(run, images, fit_options, tmp_path, monitor):
    assert run(*fit_options(images, tmp_path, "--checkpoint.monitor", monitor, "--trainer.max_epochs", 1)) == 0


def test_monitor_of_a_callback_from_outside_is_possible(run, images, fit_options, tmp_path):
    more = ("--trainer.callbacks", json.dumps([f"{__name__}.OneMore"]), "--checkpoint.monitor", "val/one_more")
    assert run(*fit_options(images, tmp_path, *more)) == 0


def test_monitor_of_a_task_from_outside_is_possible(run, images, fit_options, tmp_path):
    options = fit_options(images, tmp_path, "--checkpoint.monitor", "val/one_more")
    options[options.index("Classifier")] = f"{__name__}.Mine"
    assert run(*options) == 0


def names_of(directory) -> set[str]:
    return Task.load_from_checkpoint(directory / "checkpoints" / "last.ckpt").metric_names()


@pytest.mark.parametrize("kind", ["Classifier", "Captioner", "Distiller", "CaptionDistiller"])
def test_metric_names_are_those_that_training_records(
    run, images, fit_options, captioned, caption_options, trained, tmp_path, kind
):
    """All of them: another one would be refused as a monitor."""
    RECORDED.clear()
    more = ("--trainer.callbacks", json.dumps([f"{__name__}.Names"]), "--trainer.max_epochs", 1)
    name = "r"
    if kind == "Classifier":
        options = fit_options(images, tmp_path, *more)
    elif kind == "Distiller":
        losses = ("--model.losses", "[{name: kd}, {name: kd}, {name: crd}]")
        options = fit_options(images, tmp_path, *more, "--model.teacher", trained, *losses, "--model.allowed_drop", 1)
    else:
        options, name = caption_options(captioned, tmp_path, *more), "c"
    if kind == "CaptionDistiller":
        assert run(*options, "--name", "teacher") == 0
        RECORDED.clear()
        options += ["--model.teacher", tmp_path / "teacher" / "version_0", "--model.sequence_weight", 0.5]
    options[options.index("--model") + 1] = kind
    assert run(*options) == 0
    names = names_of(tmp_path / name / "version_0")
    assert names >= RECORDED
    # not recorded: what only `guard.skip` does, and nothing else
    assert names - RECORDED <= {"train/skipped_updates"}
