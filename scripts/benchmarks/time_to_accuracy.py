"""How soon recipes reach an accuracy: seconds of training alone, side by side, over seeds."""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from benchmarks.accuracy import CONFIGS, accuracy_of, article_epochs, characters
from benchmarks.timing import Row
from lightning.pytorch import Callback, LightningModule, Trainer

from project.cli import main as project_main

Course = list[tuple[float, float]]
"""Seconds of training until a validation, and the accuracy it found."""

COURSE: Course = []
"""Of the run that was measured last."""

CHARACTERS = {"train": 80, "val": 50, "test": 1}
"""Images of each of the 36 classes."""
TARGETS = (0.5, 0.6, 0.65)
SEEDS = range(3)
RECIPES = {
    "imagefolder.yaml": ("imagefolder.yaml",),
    "imagefolder.yaml, a quarter of its length": ("imagefolder.yaml", "--budget.images", "62500"),
    "imagefolder_speed.yaml": ("imagefolder_speed.yaml",),
}


class Stopwatch(Callback):
    """Notes each validation of a fit in `COURSE`; the clock runs from the task's set-up, and stands while validating."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Starts."""
        COURSE.clear()
        self._spent, self._since = 0.0, time.perf_counter()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stops."""
        self._spent += time.perf_counter() - self._since

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Goes on."""
        COURSE.append((self._spent, pl_module.results["val/accuracy"]))
        self._since = time.perf_counter()


def measure_time_to_accuracy() -> list[Row]:
    """Seconds of training until a validation accuracy, on 2,880 images of 36 classes; medians over three seeds."""
    folder = characters("scene-characters-race", CHARACTERS)
    courses: dict[str, list[Course]] = {name: [] for name in RECIPES}
    for seed in SEEDS:
        for name, (config, *options) in RECIPES.items():
            arguments = ["--config", str(CONFIGS / config), "--data.root", str(folder), "--seed", str(seed), *options]
            courses[name].append(course_of(arguments))
            print(name, seed, {target: reached(courses[name][-1], target) for target in TARGETS}, flush=True)
    courses["the article's script, 30 epochs"] = [_article_course(folder, epochs=30)]
    return [_row(name, found) for name, found in courses.items()]


def course_of(arguments: list[str]) -> Course:
    """Of a fit with these arguments, which writes nothing but its metrics."""
    torch.set_num_threads(2)
    watch = f'[{{"class_path": "{__name__}.Stopwatch"}}]'
    with tempfile.TemporaryDirectory() as root:
        quiet = ["--progress", "none", "--watch.pictures", "0", "--trainer.enable_checkpointing", "false"]
        where = ["--trainer.default_root_dir", root, "--data.cache_dir", root]
        project_main(["fit", *arguments, *quiet, *where, "--trainer.callbacks", watch])
    return list(COURSE)


def reached(course: Course, target: float) -> float | None:
    """Seconds until the first validation that is as good as `target`, if any is."""
    return next((seconds for seconds, accuracy in course if accuracy >= target), None)


def _article_course(folder: Path, epochs: int) -> Course:
    course: Course = []
    spent, since = 0.0, time.perf_counter()
    for network in article_epochs(folder, epochs):
        spent += time.perf_counter() - since
        course.append((spent, accuracy_of(network, folder / "val")))
        since = time.perf_counter()
    return course


def _row(name: str, courses: list[Course]) -> Row:
    row: dict[str, Any] = {"recipe": name}
    for target in TARGETS:
        times = [reached(course, target) for course in courses]
        there = [seconds for seconds in times if seconds is not None]
        row[f"seconds to {target:.0%}"] = round(statistics.median(there), 1) if len(there) == len(times) else "never"
    row["accuracy at the end"] = f"{statistics.mean(course[-1][1] for course in courses):.3f}"
    row["seconds in all"] = round(statistics.median(course[-1][0] for course in courses), 1)
    return row
