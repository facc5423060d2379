"""Which state lies in `best.ckpt` and `last.ckpt`, also after faults and a full disk."""

from __future__ import annotations

import csv
import json
import os
import re
import resource
import signal
from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch import Callback

from project.callbacks.checkpointing import CheckpointOptions, SaveCheckpoints
from project.errors import ConfigError, DataError
from project.runs.checkpoints import read_checkpoint
from project.runs.directory import RunDirectory


class Disturb(Callback):
    """Does `what` before the batch of global step `step`, once."""

    def __init__(self, step: int, what: str) -> None:
        self.step, self.what, self.done = step, what, False

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_step == self.step and not self.done:
            self.done = True
            if self.what == "raise":
                raise ZeroDivisionError("a fault")
            if self.what == "sigterm":
                os.kill(os.getpid(), signal.SIGTERM)
            if self.what == "fill disk":
                resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


def disturb(step: int, what: str) -> tuple[str, str]:
    init = {"step": step, "what": what}
    return "--trainer.callbacks", json.dumps([{"class_path": f"{__name__}.Disturb", "init_args": init}])


def checkpoint(root, which: str = "last") -> dict:
    return read_checkpoint(root / "r" / "version_0" / "checkpoints" / f"{which}.ckpt")


def rows(root) -> list[dict]:
    with open(root / "r" / "version_0" / "metrics.csv") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(
    ("more", "metric", "best"),
    [
        ((), "val/accuracy", max),
        (("--checkpoint.monitor", "val/loss"), "val/loss", min),
        (("--checkpoint.monitor", "val/recall", "--checkpoint.mode", "min"), "val/recall", min),
    ],
)
def test_best_is_the_last_epoch_with_the_best_value(run, images, fit_options, tmp_path, capsys, more, metric, best):
    assert run(*fit_options(images, tmp_path, "--trainer.max_epochs", 5, *more)) == 0
    values = [float(row[metric]) for row in rows(tmp_path)]
    assert len(set(values)) > 1
    at = max(i for i, value in enumerate(values) if value == best(values))
    saved = checkpoint(tmp_path, "best")
    assert saved["epoch"] == at
    assert saved["global_step"] == 3 * (at + 1)
    assert f"best {metric} {best(values):.4f} at step {3 * (at + 1)}" in capsys.readouterr().out
    assert checkpoint(tmp_path)["global_step"] == 15
    assert sorted(path.name for path in (tmp_path / "r/version_0/checkpoints").iterdir()) == ["best.ckpt", "last.ckpt"]


class Recorder(SimpleNamespace):
    """What the callback asks of a Trainer; notes what is saved."""

    def __init__(self) -> None:
        alone = SimpleNamespace(broadcast=lambda value: value, barrier=lambda: None)
        super().__init__(
            sanity_checking=False, state=SimpleNamespace(fn="fit"), loggers=[], global_step=0, strategy=alone
        )
        self.saved: list[str] = []
        self.callback_metrics: dict = {}

    def save_checkpoint(self, path, weights_only):
        self.saved.append(f"{path.stem} {self.global_step}")

    def validate(self, callback: SaveCheckpoints, value: float) -> None:
        self.global_step += 1
        self.callback_metrics = {"val/m": torch.tensor(value)}
        callback.on_validation_end(self, None)


@pytest.mark.parametrize(("mode", "best"), [("max", [2, 4]), ("min", [2, 3])])
def test_a_metric_that_is_not_a_number_is_never_the_best(tmp_path, mode, best):
    callback, trainer = SaveCheckpoints(RunDirectory(tmp_path), CheckpointOptions("val/m", mode)), Recorder()
    for value in (float("nan"), 0.5, 0.3, 0.7, float("nan")):
        trainer.validate(callback, value)
    assert trainer.saved == [f"best {step}" for step in best]


def test_a_resumed_run_remembers_the_best(tmp_path):
    options = CheckpointOptions("val/m", "max")
    first, second, trainer = (
        SaveCheckpoints(None, options),
        SaveCheckpoints(RunDirectory(tmp_path), options),
        Recorder(),
    )
    first.best_value, first.best_step = 0.9, 7
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    trainer.validate(second, 0.8)
    assert trainer.saved == []
    trainer.validate(second, 0.95)
    assert trainer.saved == ["best 2"]


def test_a_metric_that_is_not_there_is_named_with_the_nearest(tmp_path):
    callback, trainer = SaveCheckpoints(RunDirectory(tmp_path), CheckpointOptions("val/n", "max")), Recorder()
    with pytest.raises(ConfigError, match=r"'val/n'.*'val/m'"):
        trainer.validate(callback, 0.0)


def test_a_fault_touches_neither_checkpoint(run, images, fit_options, tmp_path):
    with pytest.raises(ZeroDivisionError):
        run(*fit_options(images, tmp_path), *disturb(4, "raise"))
    assert (checkpoint(tmp_path)["global_step"], checkpoint(tmp_path, "best")["global_step"]) == (3, 3)
    assert json.loads((tmp_path / "r/version_0/status.json").read_text()) == {"status": "failed"}
    assert [int(row["step"]) for row in rows(tmp_path)] == [2]


@pytest.mark.parametrize("storage", ["resident", "stream"])
@pytest.mark.parametrize("split", ["train", "val"])
def test_what_was_learned_before_a_loader_failed_is_saved(run, fails, images, fit_options, tmp_path, split, storage):
    """And nothing is lost: with the image mended, the run ends as one that never failed."""
    options = ("--data.batch_size", 5, "--data.storage", storage, "--trainer.callbacks",
               json.dumps([{"class_path": f"{__name__}.LoseImages", "init_args": {"split": split}}]))  # fmt: skip
    assert run(*fit_options(images, tmp_path / "whole", *options)) == 0
    LoseImages.harm = True
    line = fails(*fit_options(images, tmp_path / "cut", *options))
    LoseImages.harm = False
    assert f"{split} split: lost" in line
    assert checkpoint(tmp_path / "cut")["global_step"] == (14 if split == "train" else 20)
    assert checkpoint(tmp_path / "cut", "best")["global_step"] == 10
    assert run(*fit_options(images, tmp_path / "cut", *options, "--ckpt_path", "last")) == 0
    whole, cut = checkpoint(tmp_path / "whole"), checkpoint(tmp_path / "cut")
    for name, value in whole["state_dict"].items():
        assert torch.equal(value, cut["state_dict"][name]), name
    assert rows(tmp_path / "whole") == rows(tmp_path / "cut")


class LoseImages(Callback):
    """Has a loader fail in the second epoch, as one does that cannot read an image: in mid-epoch."""

    harm = False

    def __init__(self, split: str) -> None:
        self.split = split

    def on_train_epoch_start(self, trainer, pl_module):
        if trainer.current_epoch == 1 and LoseImages.harm:
            loaders = {loader.order.__class__.__name__: loader for loader in trainer.datamodule._loaders.values()}
            loader = loaders["TrainingOrder" if self.split == "train" else "EvaluationOrder"]
            batches = loader._batches
            loader._batches = lambda start: failing(batches(start), 4 if self.split == "train" else 0, self.split)


def failing(batches, good: int, split: str):
    for number, batch in enumerate(batches):
        if number == good:
            raise DataError(f"{split} split: lost")
        yield batch


@pytest.mark.parametrize(("minutes", "step"), [(0, 20), (10, 0)])
def test_the_recovery_checkpoint_is_written_by_the_clock(run, images, fit_options, tmp_path, minutes, step):
    options = fit_options(images, tmp_path, "--data.batch_size", 2, "--checkpoint.recovery_minutes", minutes)
    with pytest.raises(ZeroDivisionError):
        run(*options, *disturb(22, "raise"))
    last = tmp_path / "r" / "version_0" / "checkpoints" / "last.ckpt"
    assert (read_checkpoint(last)["global_step"] if last.exists() else 0) == step


@pytest.mark.parametrize(
    "more",
    [
        ("--trainer.accumulate_grad_batches", 3),
        ("--trainer.val_check_interval", 4),
        # the only validation is due after the second batch of the second epoch, that of step 5
        ("--trainer.check_val_every_n_epoch", "null", "--trainer.val_check_interval", 6, "--data.batch_size", 12),
        ("--trainer.check_val_every_n_epoch", 2),
        ("--trainer.gradient_clip_val", 0.1, "--trainer.log_every_n_steps", 1),
    ],
    ids=lambda more: more[0],
)
@pytest.mark.parametrize("step", [1, 4, 5])
def test_stopping_and_resuming_changes_nothing(run, images, fit_options, tmp_path, more, step):
    batch = ("--data.batch_size", 5, "--data.augment.flip", "true")  # 10 batches an epoch
    assert run(*fit_options(images, tmp_path / "whole", *batch, *more)) == 0
    assert run(*fit_options(images, tmp_path / "cut", *batch, *more), *disturb(step, "sigterm")) == 143
    assert checkpoint(tmp_path / "cut")["global_step"] in (step, step + 1)
    resume = ("--ckpt_path", "last", "--trainer.callbacks", "null")
    assert run(*fit_options(images, tmp_path / "cut", *batch, *more, *resume)) == 0
    whole, cut = checkpoint(tmp_path / "whole"), checkpoint(tmp_path / "cut")
    assert whole["global_step"] == cut["global_step"]
    for name, value in whole["state_dict"].items():
        assert torch.equal(value, cut["state_dict"][name]), name
    assert rows(tmp_path / "whole") == rows(tmp_path / "cut")


def test_a_disk_that_fills_up_keeps_the_earlier_checkpoints_and_goes_on(
    run, images, fit_options, tmp_path, small_files_only, caplog, capsys
):
    soft = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    with small_files_only(soft):
        options = fit_options(images, tmp_path, "--trainer.max_epochs", 3, "--watch.pictures", 0)
        assert run(*options, *disturb(4, "fill disk")) == 0
    assert re.search(r"last\.ckpt could not be written .*earlier one is kept", caplog.text)
    assert re.search(r"best val/accuracy [\d.]+ at step 3\n", capsys.readouterr().out)  # what best.ckpt is
    assert checkpoint(tmp_path)["global_step"] == 3
    assert sorted(path.name for path in (tmp_path / "r/version_0/checkpoints").iterdir()) == ["best.ckpt", "last.ckpt"]
    assert [int(row["step"]) for row in rows(tmp_path)] == [2, 5, 8]


def test_a_disk_that_is_full_from_the_start_leaves_nothing_half_written(
    fails, images, fit_options, tmp_path, small_files_only
):
    with small_files_only(resource.getrlimit(resource.RLIMIT_FSIZE)[0]):
        line = fails(*fit_options(images, tmp_path, "--watch.pictures", 0), *disturb(1, "fill disk"))
    assert "File too large; make room" in line
    assert list((tmp_path / "r/version_0/checkpoints").iterdir()) == []
    assert json.loads((tmp_path / "r/version_0/status.json").read_text()) == {"status": "failed"}


PLATEAU = {"monitor": "train/loss", "patience": 0, "mode": "max", "factor": 0.5, "threshold": 0.0}  # lowers every time


@pytest.mark.parametrize(
    "schedule",
    [
        "project.optim.WarmupCosine",
        '{"class_path": "torch.optim.lr_scheduler.StepLR", "init_args": {"step_size": 1, "gamma": 0.5}}',
        '{"class_path": "torch.optim.lr_scheduler.OneCycleLR", "init_args": {"max_lr": 0.1, "total_steps": 9}}',
        json.dumps({"class_path": "lightning.pytorch.cli.ReduceLROnPlateau", "init_args": PLATEAU}),
    ],
    ids=["WarmupCosine", "StepLR", "OneCycleLR", "ReduceLROnPlateau"],
)
@pytest.mark.parametrize("step", [3, 4, 6])
def test_every_kind_of_schedule_resumes_exactly(run, images, fit_options, tmp_path, schedule, step):
    more = ("--model.lr_scheduler", schedule, "--trainer.max_epochs", 3)
    assert run(*fit_options(images, tmp_path / "whole", *more)) == 0
    with pytest.raises(ZeroDivisionError):  # a fault: the checkpoint is that of the last epoch's end
        run(*fit_options(images, tmp_path / "cut", *more), *disturb(step, "raise"))
    assert checkpoint(tmp_path / "cut")["global_step"] == step // 3 * 3
    resume = ("--ckpt_path", "last", "--trainer.callbacks", "null")
    assert run(*fit_options(images, tmp_path / "cut", *more, *resume)) == 0
    assert rows(tmp_path / "whole") == rows(tmp_path / "cut")
    whole, cut = checkpoint(tmp_path / "whole"), checkpoint(tmp_path / "cut")
    for name, value in whole["state_dict"].items():
        assert torch.equal(value, cut["state_dict"][name]), name
