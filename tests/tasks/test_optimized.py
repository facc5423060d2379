"""How tasks are optimised: schedules that know the run's length, plateaus, the rate that is found, sharpness-aware steps."""

from __future__ import annotations

import csv
import json
from functools import partial
from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import BatchSizeFinder, LearningRateFinder
from lightning.pytorch.strategies import FSDPStrategy
from lightning.pytorch.tuner import Tuner

from project.data import ImageFolder
from project.data.batch import Batch
from project.errors import ConfigError
from project.optim import MuonSGD, OneCycle
from project.runs.checkpoints import read_checkpoint
from project.tasks import Classifier, Task

PROGRESS: list[float] = []
SUGGESTED: list[float] = []
RATES: list[dict[float, float]] = []


class Recorded(OneCycle):
    """A schedule that notes its progress."""

    def factor(self, progress: float) -> float:
        PROGRESS.append(progress)
        return super().factor(progress)


class RecordedRates(Callback):
    """Notes the rate of each group of parameters, by its factor, at every step."""

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        RATES.append({group.get("lr_scale", 1.0): group["lr"] for group in trainer.optimizers[0].param_groups})


class RecordedFinder(LearningRateFinder):
    """A learning-rate finder that says what it found."""

    def lr_find(self, trainer, pl_module) -> None:
        super().lr_find(trainer, pl_module)
        SUGGESTED.append(self.optimal_lr.suggestion())


def column(run_directory, name: str) -> list[float]:
    with open(run_directory / "metrics.csv") as file:
        return [float(row[name]) for row in csv.DictReader(file) if row.get(name)]


# ---- schedules


@pytest.mark.parametrize(
    "more",
    [
        (),
        ("--trainer.accumulate_grad_batches", 2),
        ("--trainer.limit_train_batches", 2),
        ("--trainer.limit_train_batches", 0.67),
        ("--trainer.limit_train_batches", 1.0, "--trainer.accumulate_grad_batches", 5),
        ("--trainer.max_steps", 4),
        ("--trainer.max_steps", 1000),
        ("--trainer.overfit_batches", 2),
        ("--trainer.overfit_batches", 0.5, "--data.eval_batch_size", 2),
        ("--data.storage", "stream"),
        ("--data.batch_size", 100),
    ],
    ids=lambda more: " ".join(str(part).replace("--trainer.", "") for part in more),
)
def test_progress_of_each_step_reaches_one_at_the_last(run, images, fit_options, tmp_path, more):
    PROGRESS.clear()
    assert run(*fit_options(images, tmp_path / "runs", "--model.lr_scheduler", f"{__name__}.Recorded", *more)) == 0
    steps = read_checkpoint(tmp_path / "runs/r/version_0/checkpoints/last.ckpt")["global_step"]
    assert len(set(PROGRESS)) == steps + 1
    assert (PROGRESS[0], PROGRESS[-1]) == (0, 1)
    assert column(tmp_path / "runs/r/version_0", "lr")[-1] == pytest.approx(0, abs=1e-12)


def test_torchs_plateau_schedule_lowers_the_rate_only_when_the_metric_stays(run, images, fit_options, tmp_path):
    plateau = ("--model.lr_scheduler", "torch.optim.lr_scheduler.ReduceLROnPlateau", "--model.lr_scheduler.patience", 0)
    options = fit_options(images, tmp_path / "runs", *plateau, "--trainer.max_epochs", 6, "--data.batch_size", 4,
                          "--trainer.log_every_n_steps", 1000)  # fmt: skip
    assert run(*options, "--model.optimizer", "torch.optim.SGD", "--model.optimizer.lr", 0.02) == 0
    # torch's schedule wants less by default, so it follows the loss and not the accuracy
    losses, rates = (column(tmp_path / "runs/r/version_0", name) for name in ("val/loss", "lr"))
    assert any(b < a for a, b in pairwise(losses))  # or it would prove nothing
    best, rate, expected = float("inf"), 0.02, []
    for value in losses:
        expected.append(rate)  # a row shows the rate that its epoch was trained with
        rate, best = (rate, value) if value < best * (1 - 1e-4) else (0.1 * rate, best)
    assert rates == pytest.approx(expected)


def test_a_plateau_schedule_waits_for_the_first_validation(run, images, fit_options, tmp_path):
    plateau = ("--model.lr_scheduler", "torch.optim.lr_scheduler.ReduceLROnPlateau", "--model.lr_scheduler.patience", 9)
    rarely = ("--trainer.check_val_every_n_epoch", "null", "--trainer.val_check_interval", 5, "--trainer.max_epochs", 4)
    assert run(*fit_options(images, tmp_path / "runs", *plateau, *rarely)) == 0
    assert len(column(tmp_path / "runs/r/version_0", "val/loss")) == 2


def test_lightnings_plateau_schedule_follows_the_metric_it_names(run, images, fit_options, tmp_path):
    name = "lightning.pytorch.cli.ReduceLROnPlateau"
    init = {"monitor": "train/loss", "patience": 0, "mode": "max", "factor": 0.5, "threshold": 0.0}
    scheduler = json.dumps({"class_path": name, "init_args": init})
    assert (
        run(*fit_options(images, tmp_path / "runs", "--model.lr_scheduler", scheduler, "--trainer.max_epochs", 3)) == 0
    )
    losses, rates = (column(tmp_path / "runs/r/version_0", name) for name in ("train/loss", "lr"))
    assert losses[0] > losses[1]  # which is worse, since more is better here
    assert rates == [0.1, 0.1, 0.05]


@pytest.mark.parametrize(
    ("more", "line"),
    [
        (("--model.lr_scheduler", "lightning.pytorch.cli.ReduceLROnPlateau", "--model.lr_scheduler.monitor", "val/acuracy"),
         "error: model.lr_scheduler.monitor: no metric 'val/acuracy'; did you mean 'val/accuracy'?"),
        (("--trainer.max_epochs", -1, "--trainer.max_time", "00:00:01:00"),
         "error: trainer.max_epochs: the learning rate's shape, or lookahead, needs the run's length; set it"),
    ],
)  # fmt: skip
def test_what_a_schedule_cannot_know_is_one_line(fails, images, fit_options, tmp_path, more, line):
    assert fails(*fit_options(images, tmp_path / "runs", *more)) == line


class Loader:
    """Three batches that no data module makes."""

    def __len__(self) -> int:
        return 3

    def __iter__(self):
        pixels = torch.randint(256, (4, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
        return iter([Batch(pixels, torch.tensor([0, 1, 0, 1]), torch.arange(4))] * 3)


def small(tmp_path, lr: float) -> tuple[Trainer, Classifier]:
    """A trainer with nothing but itself, and a classifier."""
    task = Classifier(["a", "b"], 8, backbone_options={"width": 4}, optimizer=partial(torch.optim.SGD, lr=lr),
                      lr_scheduler=Recorded)  # fmt: skip
    trainer = Trainer(accelerator="cpu", max_epochs=2, logger=False, enable_checkpointing=False,
                      enable_progress_bar=False, enable_model_summary=False, default_root_dir=tmp_path)  # fmt: skip
    return trainer, task


def test_progress_with_a_loader_of_the_users_counts_its_batches(tmp_path):
    PROGRESS.clear()
    trainer, task = small(tmp_path, 0.1)
    trainer.fit(task, Loader(), Loader())
    assert sorted(set(PROGRESS)) == [k / 6 for k in range(7)]


# ---- the learning rate that is found


CONSTANT = ("--model.lr_scheduler", "torch.optim.lr_scheduler.ConstantLR", "--model.lr_scheduler.factor", 1)


@pytest.mark.parametrize(
    "schedule",
    [CONSTANT, (), pytest.param(("--model.lr_scheduler", "null"), marks=pytest.mark.slow)],
    ids=["constant", "one cycle", "none"],
)
def test_the_learning_rate_finder_sets_the_rate_and_leaves_the_rest(run, images, fit_options, tmp_path, schedule):
    SUGGESTED.clear()
    init = {"num_training_steps": 40, "early_stop_threshold": None, "min_lr": 1e-5}
    finder = json.dumps([{"class_path": f"{__name__}.RecordedFinder", "init_args": init}])
    batches = ("--data.batch_size", 2, "--trainer.log_every_n_steps", 1)  # 24 steps an epoch
    options = fit_options(images, tmp_path / "runs", *schedule, *batches)
    assert run(*options, "--trainer.callbacks", finder) == 0
    directory = tmp_path / "runs" / "r" / "version_0"
    assert SUGGESTED[0] is not None
    assert max(column(directory, "lr")) == pytest.approx(SUGGESTED[0])
    assert read_checkpoint(directory / "checkpoints" / "last.ckpt")["global_step"] == 48
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["r"]  # the finder's own checkpoint is gone
    # the search leaves no trace but the rate: the same run with that rate given is the same
    assert run(*options, "--model.optimizer", "torch.optim.SGD", "--model.optimizer.lr", SUGGESTED[0],
               "--model.optimizer.momentum", 0.9, "--model.optimizer.weight_decay", 5e-4,
               "--model.optimizer.nesterov", "true", "--name", "given") == 0  # fmt: skip
    for name in ("train/loss", "val/loss"):
        assert column(directory, name) == column(tmp_path / "runs" / "given" / "version_0", name)


@pytest.mark.parametrize("sam", [0, 0.05])
def test_rates_by_layer_survive_the_learning_rate_finder(run, images, fit_options, tmp_path, sam):
    SUGGESTED.clear()
    RATES.clear()
    init = {"num_training_steps": 40, "early_stop_threshold": None, "min_lr": 1e-5}
    finder = {"class_path": f"{__name__}.RecordedFinder", "init_args": init}
    callbacks = json.dumps([finder, {"class_path": f"{__name__}.RecordedRates"}])
    more = ("--model.fine_tuning.layer_decay", 0.5, "--model.sam", sam, "--trainer.max_epochs", 1)
    options = fit_options(images, tmp_path / "runs", "--data.batch_size", 2, *CONSTANT, *more)
    assert run(*options, "--trainer.callbacks", callbacks) == 0
    assert SUGGESTED[0] is not None
    for rates in RATES[-24:]:  # the epoch's steps
        assert rates == {k: pytest.approx(k * SUGGESTED[0]) for k in (1.0, 0.5, 0.25, 0.125)}


class RateOfEachStep(Callback):
    """Notes rate and batch size of every training step."""

    def __init__(self) -> None:
        self.rates: list[float] = []
        self.sizes: list[int] = []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])
        self.sizes.append(len(batch.labels))


def watched(tmp_path, *callbacks) -> tuple[Trainer, RateOfEachStep]:
    watch = RateOfEachStep()
    return Trainer(
        accelerator="cpu", devices=1, max_epochs=1, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=tmp_path, callbacks=[watch, *callbacks],
    ), watch  # fmt: skip


FINDERS = pytest.mark.filterwarnings("ignore:.*does not have many workers", "ignore:.*weights_only", "ignore:Be aware")


@FINDERS
@pytest.mark.parametrize("again", [False, True])
def test_fit_after_tuner_lr_find_uses_the_rate_that_it_set(images, tmp_path, again):
    data = ImageFolder(root=str(images), image_size=12, batch_size=2, num_workers=0)
    task = Classifier(data.class_names, 12, backbone_options={"width": 4})
    trainer, watch = watched(tmp_path)
    Tuner(trainer).lr_find(task, datamodule=data, num_training=30, max_lr=10.0)
    if again:  # by another Trainer
        trainer, watch = watched(tmp_path)
    watch.rates.clear()
    trainer.fit(task, data)
    assert task.lr not in (None, 0.1)
    assert max(watch.rates) == pytest.approx(task.lr, rel=0.1)  # the cycle's top lies between two steps
    assert min(watch.rates) < 0.2 * task.lr


def test_fit_with_a_rate_that_was_set_by_hand_uses_it(images, tmp_path):
    data = ImageFolder(root=str(images), image_size=12, batch_size=16, num_workers=0)
    task = Classifier(data.class_names, 12, backbone_options={"width": 4}, lr_scheduler=None)
    task.lr = 0.03
    trainer, watch = watched(tmp_path)
    trainer.fit(task, data)
    assert set(watch.rates) == {0.03}


def test_fit_with_a_rate_that_the_schedule_ignores_is_refused(images, tmp_path):
    data = ImageFolder(root=str(images), image_size=12, batch_size=16, num_workers=0)
    schedule = partial(torch.optim.lr_scheduler.OneCycleLR, max_lr=0.1, total_steps=10)
    task = Classifier(data.class_names, 12, backbone_options={"width": 4}, lr_scheduler=schedule)
    task.lr = 0.03
    with pytest.raises(ConfigError, match=r"^model\.lr_scheduler: OneCycleLR has a rate of its own \(max_lr\)"):
        watched(tmp_path)[0].fit(task, data)


@FINDERS
@pytest.mark.parametrize("by", ["tuner", "callback"])
def test_fit_after_the_batch_size_finder_has_the_schedule_of_the_new_length(images, tmp_path, by):
    data = ImageFolder(root=str(images), image_size=12, batch_size=16, num_workers=0)
    task = Classifier(data.class_names, 12, backbone_options={"width": 4})
    options = {"steps_per_trial": 1, "init_val": 2, "max_trials": 2}
    trainer, watch = watched(tmp_path, *([BatchSizeFinder(**options)] if by == "callback" else []))
    if by == "tuner":
        Tuner(trainer).scale_batch_size(task, datamodule=data, **options)
        watch.rates.clear()
    trainer.fit(task, data)
    assert data.batch_size == 4
    own = watch.rates[-12:]  # of 48 images
    assert len(own) == trainer.global_step == 12
    shape = OneCycle(torch.optim.SGD([torch.zeros(1)], lr=1.0), warmup=0.25)
    assert own == pytest.approx([0.1 * shape.factor(step / 12) for step in range(12)])


# ---- sharpness-aware minimisation


@pytest.mark.parametrize(
    ("more", "mend"),
    [
        (("--trainer.accumulate_grad_batches", 2), "set trainer.accumulate_grad_batches to 1"),
        (("--model.sam", -1), "must be at least 0; got -1"),
    ],
)
def test_what_sam_cannot_do_is_one_line(fails, images, fit_options, tmp_path, more, mend):
    line = fails(*fit_options(images, tmp_path / "runs", "--model.sam", 0.05, *more))
    assert line.startswith("error: model.sam: ")
    assert mend in line


def decayed(task: Task) -> dict[float, int]:
    """How many numbers have which decay."""
    groups = task.configure_optimizers().param_groups
    return {group["weight_decay"]: sum(p.numel() for p in group["params"]) for group in groups}


@pytest.fixture
def sharded() -> Classifier:
    """A task of whose parameters its strategy has made vectors."""
    task = Classifier(["a", "b"], 12, lr_scheduler=None)
    task._trainer = SimpleNamespace(strategy=FSDPStrategy())
    task.configure_model()
    for parameter in task.parameters():
        parameter.data = parameter.data.flatten()
    return task


def test_sharded_weights_are_decayed_as_whole_ones_are(sharded):
    whole = decayed(Classifier(["a", "b"], 12, lr_scheduler=None))
    assert decayed(sharded) == whole
    assert set(whole) == {0.0, 5e-4}


def test_filters_in_pieces_cannot_be_made_orthogonal(sharded):
    sharded.make_optimizer = MuonSGD
    with pytest.raises(
        ConfigError, match=r"model.optimizer: MuonSGD needs whole filters .* set trainer.strategy to ddp"
    ):
        sharded.configure_optimizers()
