"""Rates and samples of runs that are resumed with other batches, accumulation or another length."""

from __future__ import annotations

import random
from collections import defaultdict
from contextlib import suppress
from functools import partial

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import GradientAccumulationScheduler
from torch.optim.lr_scheduler import CosineAnnealingLR, CyclicLR, OneCycleLR

from project.data import ImageDataModule
from project.data.samples import Samples
from project.errors import ConfigError
from project.optim import OneCycle
from project.tasks import Classifier

COUNT, RATE = 37, 0.1


class Noise(ImageDataModule):
    """37 training images of two classes in memory."""

    @property
    def class_names(self) -> list[str]:
        return ["a", "b"]

    def load_splits(self):
        images = np.random.default_rng(0).integers(0, 256, (COUNT + 3, 16, 16, 3), np.uint8)
        labels = np.arange(COUNT + 3) % 2
        return {"train": Samples(images[3:], labels[3:], "train"), "val": Samples(images[:3], labels[:3], "val")}


class InterruptionError(Exception):
    """An interruption."""


class Record(Callback):
    """Notes samples and the rate of each batch, and saves a checkpoint and stops after one of them.

    Args:
        path: of the checkpoint.
        stop: epoch and number of batches.
    """

    def __init__(self, path: str, stop: tuple[int, int] | None = None) -> None:
        self.path, self.stop = path, stop
        self.samples: dict[int, list[int]] = defaultdict(list)
        self.rates: list[tuple[int, float]] = []  # samples seen before an update, in this process, and its rate
        self.steps: list[int] = []
        self._seen = 0

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.fit_loop.epoch_loop.global_step not in self.steps:
            self.steps.append(trainer.global_step)
            self.rates.append((self._seen, trainer.optimizers[0].param_groups[0]["lr"]))
        self.samples[trainer.current_epoch] += batch.indices.tolist()
        self._seen += len(batch.indices)

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if self.stop is not None and (trainer.current_epoch, batch_idx + 1) >= self.stop:
            trainer.save_checkpoint(self.path)
            raise InterruptionError

    def on_train_epoch_end(self, trainer, pl_module):
        if self.stop is None:
            trainer.save_checkpoint(self.path)


def fit(
    tmp_path, epochs, batch, stop=None, resume=False, schedule=partial(OneCycle, warmup=0.0), callbacks=(), **options
):
    """Trains, from the checkpoint if `resume`, and returns what was noted and the steps made."""
    path = str(tmp_path / "run.ckpt")
    task = Classifier(["a", "b"], 16, backbone_options={"width": 4}, optimizer=partial(torch.optim.SGD, lr=RATE),
                      lr_scheduler=schedule)  # fmt: skip
    record = Record(path, stop)
    trainer = Trainer(accelerator="cpu", max_epochs=epochs, logger=False, enable_checkpointing=False,
                      enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0,
                      callbacks=[*callbacks, record], default_root_dir=tmp_path, **options)  # fmt: skip
    with suppress(InterruptionError):
        trainer.fit(
            task, Noise(batch_size=batch, image_size=16, cache_dir=tmp_path), ckpt_path=path if resume else None
        )
    return record, trainer.global_step


@pytest.mark.parametrize("seed", range(8))
def test_run_random_interruptions_and_batches_sees_each_sample_once_at_the_rate_of_its_fraction(tmp_path, seed):
    draw, epochs = random.Random(seed), 3
    samples, seen, resume = defaultdict(list), 0, False
    for place in [*sorted(draw.uniform(0, epochs - 0.1) for _ in range(3)), None]:
        batch, accumulated = draw.randint(1, 16), draw.choice([1, 1, 2, 3])
        batches = -(-COUNT // batch)
        # between two updates of an epoch, where this project saves
        updates = -(-batches // accumulated)
        done = min(max(round(place % 1 * updates), 1), updates - 1) * accumulated if place else 0
        stop = (int(place), done) if done else None
        record, _ = fit(tmp_path, epochs, batch, stop, resume, accumulate_grad_batches=accumulated)
        for before, rate in record.rates:
            # batches count as equal; some, the first ones of an epoch, are larger by a sample
            close = RATE * (1 + batches / 4) / (COUNT * epochs)
            assert rate == pytest.approx(RATE * (1 - (seen + before) / (COUNT * epochs)), abs=close)
        for epoch, found in record.samples.items():
            samples[epoch] += found
        seen = sum(map(len, samples.values()))
        resume = True
    assert {epoch: sorted(found) for epoch, found in samples.items()} == {e: list(range(COUNT)) for e in range(epochs)}


def test_run_resumed_with_its_own_batches_has_the_rates_and_samples_of_the_whole(tmp_path):
    whole, steps = fit(tmp_path, 3, 6)
    first, _ = fit(tmp_path, 3, 6, stop=(1, 4))
    second, made = fit(tmp_path, 3, 6, resume=True)
    assert made == steps
    assert [rate for _, rate in [*first.rates, *second.rates]] == [rate for _, rate in whole.rates]
    assert first.samples[1] + second.samples[1] == whole.samples[1]


def test_run_extended_after_its_end_has_the_rates_of_the_new_length(tmp_path):
    whole, _ = fit(tmp_path, 5, 6)
    fit(tmp_path, 2, 6)
    extended, _ = fit(tmp_path, 5, 6, resume=True)
    assert [rate for _, rate in extended.rates] == [rate for _, rate in whole.rates][2 * 7 :]


@pytest.mark.parametrize("stop", [None, (1, 2)])
def test_accumulation_that_changes_ends_at_rate_zero_and_resumes_in_mid_epoch(tmp_path, stop):
    def accumulation() -> tuple[Callback]:
        return (GradientAccumulationScheduler({0: 1, 1: 2}),)

    whole, steps = fit(tmp_path, 3, 6, callbacks=accumulation())
    assert steps == 7 + 4 + 4
    assert [rate for _, rate in whole.rates] == pytest.approx(
        [RATE * (1 - done / 21) for done in (*range(7), 7, 9, 11, 13, 14, 16, 18, 20)]
    )
    if stop:
        first, _ = fit(tmp_path, 3, 6, stop, callbacks=accumulation())
        second, made = fit(tmp_path, 3, 6, resume=True, callbacks=accumulation())
        assert made == steps
        assert [rate for _, rate in first.rates + second.rates] == [rate for _, rate in whole.rates]


def test_epoch_that_max_steps_ended_continues_when_the_run_is_extended(tmp_path):
    first, _ = fit(tmp_path, 3, 6, max_steps=10)
    second, steps = fit(tmp_path, 3, 6, resume=True)
    assert steps == 21
    for epoch in range(3):
        assert sorted(first.samples[epoch] + second.samples[epoch]) == list(range(COUNT))


def test_torchs_schedule_by_epochs_resumes_with_other_batches_at_its_epoch(tmp_path):
    schedule = partial(CosineAnnealingLR, T_max=4)
    fit(tmp_path, 4, 6, stop=(1, 3), schedule=schedule)
    record, _ = fit(tmp_path, 4, 13, resume=True, schedule=schedule)
    expected = [RATE * (1 + np.cos(np.pi * epoch / 4)) / 2 for epoch in (1, 1, *[2] * 3, *[3] * 3)]
    assert [rate for _, rate in record.rates] == pytest.approx(expected)


@pytest.mark.parametrize(
    "schedule",
    [partial(OneCycleLR, max_lr=0.4, total_steps=28), partial(CyclicLR, base_lr=0.1, max_lr=0.4, step_size_up=10)],
    ids=["one cycle", "cycles"],
)
def test_torchs_schedule_by_steps_refuses_other_batches_and_resumes_with_the_same(tmp_path, schedule):
    whole, _ = fit(tmp_path, 4, 6, schedule=schedule)
    fit(tmp_path, 4, 6, stop=(2, 0), schedule=schedule)
    with pytest.raises(
        ConfigError,
        match=r"^model\.lr_scheduler: \w+ counts steps, of which the run has made 15; with these batches it would be 6\. ",
    ):
        fit(tmp_path, 4, 13, resume=True, schedule=schedule)
    record, _ = fit(tmp_path, 4, 6, resume=True, schedule=schedule)
    assert [rate for _, rate in record.rates] == [rate for _, rate in whole.rates][15:]


def test_one_cycle_of_torchs_that_is_too_short_is_refused_before_training(tmp_path):
    with pytest.raises(ConfigError, match=r"^model\.lr_scheduler\.total_steps: the run has 28 steps; got 27\."):
        fit(tmp_path, 4, 6, schedule=partial(OneCycleLR, max_lr=0.4, total_steps=27))


def test_limit_of_batches_below_what_an_epoch_has_seen_is_refused(tmp_path):
    fit(tmp_path, 2, 6, stop=(0, 5))
    with pytest.raises(ConfigError, match=r"^trainer\.limit_train_batches: "):
        fit(tmp_path, 2, 12, resume=True, limit_train_batches=2)


def test_length_below_what_the_run_has_made_is_refused(tmp_path):
    fit(tmp_path, 3, 20)
    with pytest.raises(ConfigError, match=r"^trainer\.max_epochs: the run has made 3 epochs already; got 2$"):
        fit(tmp_path, 2, 20, resume=True)
