"""How soon recipes reach an accuracy: seconds of training alone, side by side, over seeds.

They are seconds of the one core that the process has: other programs on the machine do not count.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from benchmarks.accuracy import CONFIGS, accuracy_of, characters, plain_epochs
from benchmarks.timing import Row
from lightning.pytorch import Callback, LightningModule, Trainer
from PIL import Image
from torch import nn

from project.cli import main as project_main
from project.data import Digits
from project.data.images import to_rgb, to_square

Course = list[tuple[float, float]]
"""Seconds of training until a validation, and the accuracy it found."""

COURSE: Course = []
"""Of the run that was measured last."""

CHARACTERS = {"train": 80, "val": 30, "test": 1}
"""Images of each of the 36 classes."""
SEEDS = range(3)


class Stopwatch(Callback):
    """Notes each validation of a fit in `COURSE`; the clock runs from the task's set-up, and stands while validating."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Starts."""
        COURSE.clear()
        self._spent, self._since = 0.0, time.process_time()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stops."""
        self._spent += time.process_time() - self._since

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Goes on."""
        task: Any = pl_module
        COURSE.append((self._spent, task.results["val/accuracy"]))
        self._since = time.process_time()


def measure_time_to_accuracy() -> list[Row]:
    """Seconds of one core to a validation accuracy: medians of three seeds, of the plain script one; never: not by all."""
    folder = characters("scene-characters-race", CHARACTERS)
    targets = (0.5, 0.6, 0.65, 0.7)
    recipes = {
        "imagefolder_speed.yaml": ("imagefolder_speed.yaml",),
        "imagefolder.yaml, a quarter of its images": ("imagefolder.yaml", "--budget.images", "62500"),
        "imagefolder.yaml": ("imagefolder.yaml",),
    }
    rows = _race(recipes, targets, ("--data.root", str(folder)))
    return [*rows, _row("the plain script, 10 epochs", [_course_of_epochs(folder, plain_epochs(folder, 10))], targets)]


def measure_time_to_digits() -> list[Row]:
    """Seconds of one core to a validation accuracy on the digits: medians of three seeds, and their mean accuracy."""
    recipes: dict[str, tuple[str, ...]] = {name: (name,) for name in ("digits_speed.yaml", "digits.yaml")}
    targets, size, epochs = (0.9, 0.95, 0.98), 16, 40
    rows = _race(recipes, targets, ())
    with tempfile.TemporaryDirectory() as root:
        write_digits(Path(root), size)
        courses = [_course_of_epochs(Path(root), plain_epochs(Path(root), epochs, size, seed)) for seed in SEEDS]
    return [*rows, _row(f"the plain script, {epochs} epochs", courses, targets)]


def write_digits(folder: Path, size: int) -> None:
    """The digits as files, `train/CLASS/INDEX.png`, as training sees them, for the plain script."""
    for split, samples in Digits().splits.items():
        for index, (pixels, label) in enumerate(zip(samples.images, samples.labels, strict=True)):
            path = folder / split / str(label) / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(to_square(to_rgb(Image.fromarray(pixels)), size)).save(path)


def _race(recipes: dict[str, tuple[str, ...]], targets: Sequence[float], common: tuple[str, ...]) -> list[Row]:
    courses: dict[str, list[Course]] = {name: [] for name in recipes}
    for seed in SEEDS:
        for name, (config, *options) in recipes.items():
            arguments = ["--config", str(CONFIGS / config), "--seed", str(seed), *common, *options]
            courses[name].append(course_of(arguments))
            print(_row(f"{name}, seed {seed}", courses[name][-1:], targets), flush=True)
    return [_row(name, found, targets) for name, found in courses.items()]


def course_of(arguments: list[str]) -> Course:
    """Of a fit with these arguments, which writes nothing but its metrics."""
    torch.set_num_threads(1)
    watch = f'[{{"class_path": "{__name__}.Stopwatch"}}]'
    with tempfile.TemporaryDirectory() as root:
        quiet = ["--progress", "none", "--watch.pictures", "0", "--trainer.enable_checkpointing", "false"]
        where = ["--trainer.default_root_dir", root, "--data.cache_dir", root]
        project_main(["fit", *arguments, *quiet, *where, "--trainer.callbacks", watch])
    return list(COURSE)


def reached(course: Course, target: float) -> float | None:
    """Seconds until the first validation that is as good as `target`, if any is."""
    return next((seconds for seconds, accuracy in course if accuracy >= target), None)


def _course_of_epochs(folder: Path, epochs: Iterable[nn.Module]) -> Course:
    course: Course = []
    torch.set_num_threads(1)
    spent, since = 0.0, time.process_time()
    for network in epochs:
        spent += time.process_time() - since
        course.append((spent, accuracy_of(network, folder / "val")))
        since = time.process_time()
    return course


def _row(name: str, courses: list[Course], targets: Sequence[float]) -> Row:
    row: dict[str, Any] = {"recipe": name}
    for target in targets:
        times = [reached(course, target) for course in courses]
        there = [seconds for seconds in times if seconds is not None]
        row[f"seconds to {target:.0%}"] = round(statistics.median(there), 1) if len(there) == len(times) else "never"
    row["accuracy at the end"] = f"{statistics.mean(course[-1][1] for course in courses):.3f}"
    row["seconds in all"] = round(statistics.median(course[-1][0] for course in courses), 1)
    return row
