"""The speed of a run whose steps and batches take a known time."""

from __future__ import annotations

import time

import pytest

from project.callbacks.speed import Speed


class Slow(Speed):
    """A run in which a batch is waited for 20 ms and a step takes 60."""

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        time.sleep(0.02)
        super().on_train_batch_start(trainer, pl_module, batch, batch_idx)
        time.sleep(0.06)

    def on_validation_start(self, trainer, pl_module):
        super().on_validation_start(trainer, pl_module)
        time.sleep(0.2)  # no part of it


@pytest.fixture
def slow(run, images, fit_options, tmp_path, monkeypatch, shown):
    from project.callbacks import watching

    monkeypatch.setattr(watching, "Speed", Slow)

    def fit(*options):
        assert run(*fit_options(images, tmp_path / "runs", "--watch.pictures", 0, *options)) == 0
        return shown(tmp_path / "runs/r/version_0")

    return fit


def test_images_a_second_and_the_share_of_waiting(slow):
    found = slow("--trainer.max_epochs", 3)
    rates, waiting = (
        [event.value for event in found.Scalars(f"speed/{name}")][1:] for name in ("images_per_second", "waiting")
    )
    # 48 images in three steps of 80 ms and a little; validations of 200 ms between them are left out
    assert len(rates) == 2
    assert all(100 < rate < 48 / 0.24 for rate in rates)
    assert all(0.1 < share < 0.45 for share in waiting)


def test_it_is_shown_at_logged_steps_and_after_an_epoch(slow):
    found = slow("--trainer.log_every_n_steps", 2)
    assert [event.step for event in found.Scalars("speed/images_per_second")] == [1, 2, 3, 5]


def test_it_is_shown_once_a_step_where_gradients_are_accumulated(slow):
    found = slow("--trainer.log_every_n_steps", 1, "--trainer.accumulate_grad_batches", 2)
    # three batches an epoch are two steps
    assert [event.step for event in found.Scalars("speed/images_per_second")] == [0, 1, 2, 3]


def test_no_clock_gets_into_the_csv_file(watched):
    text = (watched.path / "metrics.csv").read_text()
    assert "speed/" not in text
    assert "train/gradient_norm" in text.splitlines()[0]


def test_memory_is_the_process_s_peak(watched):
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    values = [event.value for event in watched.events.Scalars("speed/memory_gib")]
    assert 0.2 < values[0] <= values[-1] <= peak
