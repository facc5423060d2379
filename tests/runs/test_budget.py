"""Epochs from a number of images."""

from __future__ import annotations

import pytest

from project.runs.budget import Budget


@pytest.mark.parametrize(
    ("budget", "length", "epochs"),
    [
        (Budget(1000), 100, 10),
        (Budget(1001), 100, 11),
        (Budget(1000), 1000, 1),
        (Budget(1000), 5000, 1),
        (Budget(1000, min_epochs=6), 5000, 6),
        (Budget(1000, min_epochs=6), 100, 10),
        (Budget(1000, max_epochs=40), 3, 40),
        (Budget(180_000, 6, 200), 30_000, 6),
        (Budget(180_000, 6, 200), 100, 200),
    ],
)
def test_images_become_epochs_within_bounds(budget, length, epochs):
    assert budget.epochs(length) == epochs


def test_a_run_takes_its_length_from_the_budget(run, images, fit_options, tmp_path):
    import json

    options = fit_options(images, tmp_path / "runs", "--budget.images", 140)
    at = options.index("--trainer.max_epochs")
    del options[at : at + 2]
    assert run(*options) == 0  # 48 training images: 140 / 48 is a little below three
    steps = (tmp_path / "runs/r/version_0/metrics.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in steps[1:]] == ["0", "1", "2"]
    assert json.loads((tmp_path / "runs/r/version_0/status.json").read_text()) == {"status": "finished"}


def test_trainer_options_beat_the_budget_and_without_either_there_is_no_run(run, fails, images, fit_options, tmp_path):
    options = fit_options(images, tmp_path / "runs", "--budget.images", 1000)
    assert run(*options) == 0
    assert len((tmp_path / "runs/r/version_0/metrics.csv").read_text().splitlines()) == 1 + 2
    at = options.index("--trainer.max_epochs")
    assert "trainer.max_epochs" in fails(*options[:at], *options[at + 2 : -2])
