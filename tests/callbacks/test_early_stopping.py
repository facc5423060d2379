"""What a resumed run takes from its checkpoint, and what from its options."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from lightning.pytorch.callbacks import EarlyStopping

from project.callbacks.early_stopping import StopEarly


def resumed(wait_count: int, patience: int) -> StopEarly:
    """One with this patience, of a run that had one of 2."""
    old = EarlyStopping("val/loss", patience=2)
    old.wait_count = wait_count
    new = StopEarly("val/loss", patience=patience)
    assert new.state_key == old.state_key
    new.load_state_dict(old.state_dict())
    return new


@pytest.mark.parametrize(
    ("wait_count", "patience", "stops"),
    [(0, 0, False), (1, 0, True), (1, 2, False), (2, 2, True), (2, 100, False), (3, 2, True)],
)
def test_the_patience_is_the_one_asked_for_and_a_decision_to_stop_holds(wait_count, patience, stops):
    callback = resumed(wait_count, patience)
    assert (callback.patience, callback.wait_count) == (patience, wait_count)
    trainer = SimpleNamespace(should_stop=False)
    callback.on_train_start(trainer, None)
    assert trainer.should_stop is stops


def test_a_run_that_stopped_early_is_not_trained_on(run, images, fit_options, tmp_path):
    stopping = ("--trainer.max_epochs", 9, "--early_stopping.patience", 1, "--early_stopping.min_delta", 10)
    assert run(*fit_options(images, tmp_path / "runs", *stopping)) == 0
    directory = tmp_path / "runs" / "r" / "version_0"
    rows = (directory / "metrics.csv").read_text()
    (directory / "status.json").write_text('{"status": "interrupted"}')  # killed when it had decided
    assert run("fit", "--ckpt_path", directory) == 0
    assert (directory / "metrics.csv").read_text() == rows
    assert "finished" in (directory / "status.json").read_text()
    assert run("fit", "--ckpt_path", directory, "--early_stopping.patience", 3) == 0
    assert len((directory / "metrics.csv").read_text().splitlines()) > len(rows.splitlines())
