"""Between two lines of the log a training step waits for the device once: where the guard looks at loss and gradient.

An accelerator works on while the host prepares the next step, unless the host asks it for a number.
"""

from __future__ import annotations

import pytest
from lightning.pytorch import Callback

from tests.waits import Waits

FIRST, LAST = 3, 7  # steps, from the beginning of one to the beginning of the other


class CountWaits(Callback):
    """Counts from the beginning of one step to the beginning of another of the same epoch."""

    counts: list[int]

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_step == FIRST:
            self.waits = Waits()
            self.waits.__enter__()
        if trainer.global_step == LAST:
            self.waits.__exit__(None, None, None)
            self.counts.append(self.waits.count)


@pytest.fixture
def counted(run, monkeypatch):
    def fit_and_count(options: list[str]) -> int:
        monkeypatch.setattr(CountWaits, "counts", [], raising=False)
        callback = f'[{{"class_path": "{__name__}.CountWaits"}}]'
        more = ("--trainer.callbacks", callback, "--trainer.max_epochs", 1, "--trainer.log_every_n_steps", 50)
        assert run(*options, *more, "--trainer.precision", "32-true") == 0
        (count,) = CountWaits.counts
        return count

    return fit_and_count


@pytest.mark.parametrize(
    "more",
    [
        (),
        ("--data.augment.policy", "trivial", "--data.augment.mixup", "0.2", "--data.augment.erase", "0.5"),
        ("--ema.decay", "0.9", "--lookahead.every", "2"),
        ("--trainer.gradient_clip_val", "1"),
        ("--data.storage", "stream"),
    ],
    ids=lambda more: " ".join(more),
)
def test_of_a_classifier(counted, images, fit_options, tmp_path, more):
    assert counted(fit_options(images, tmp_path / "runs", "--data.batch_size", 4, *more)) == LAST - FIRST


def test_of_a_distiller(counted, trained, trained_images, fit_options, tmp_path):
    teacher = ("--model", "Distiller", "--model.teacher", trained, "--model.allowed_drop", 1)
    options = fit_options(trained_images, tmp_path / "runs", "--data.batch_size", 4)
    assert counted([*options, *map(str, teacher)]) == LAST - FIRST
