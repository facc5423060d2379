"""What a run has shown in TensorBoard, for tests to read."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from project.cli import main


class Watched(NamedTuple):
    """A finished run of a small classifier: two epochs of three steps, every one of them logged."""

    path: Path
    images: Path
    events: Any


def _read(run: Path) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TensorBoard's protocol buffers
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    kinds = {"images": 0, "tensors": 0, "scalars": 0, "histograms": 0}
    return EventAccumulator(str(run), kinds).Reload()


@pytest.fixture(scope="session")
def shown() -> Callable[[Path], Any]:
    """Everything in the event files of a run's directory, as TensorBoard's accumulator."""
    return _read


@pytest.fixture(scope="session")
def watched(tmp_path_factory, image_tree, fit_options) -> Watched:
    """With everything that `--watch` has."""
    folder = tmp_path_factory.mktemp("watched")
    images = image_tree(folder / "images")
    options = ("--data.cache_dir", folder / "cache", "--data.eval_batch_size", 4, "--trainer.log_every_n_steps", 1)
    options += (
        "--model.optimizer.lr",
        0.015,
    )  # or some probabilities are 1, and which of them is the highest is chance
    options += ("--watch.pictures", 1, "--watch.histograms", True, "--watch.graph", True, "--progress", "none")
    main(fit_options(images, folder / "runs", *options))
    run = folder / "runs" / "r" / "version_0"
    return Watched(run, images, _read(run))
