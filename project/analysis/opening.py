"""A run's best network with the data that it was trained on, for who looks at it from Python."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

import project.data
from project.data.base import ImageDataModule
from project.errors import CheckpointError, RunError
from project.runs.checkpoints import read_checkpoint
from project.runs.directory import RunDirectory
from project.runs.schema import Schema, SchemaError
from project.runs.stored_paths import STARTED_IN, resolve_options
from project.tasks import Task

_IN_TRAINING = ("augment", "predict", "seed", "repeats", "balance", "train_size", "cache_features")


class Opened(NamedTuple):
    """`task` in evaluation mode, on the processor, and `data` at its image size."""

    task: Task
    data: ImageDataModule


def open_run(path: str | Path, **options: Any) -> Opened:
    """Opens the best checkpoint of a run, and builds its data as `config.yaml` says, without augmentation.

    Args:
        path: the run's directory.
        **options: of the data, in the place of the run's, such as `root` where the images have moved. The run's `cache_dir`
            is not taken: where something is written, you say.

    Raises:
        CheckpointError: there is no such checkpoint.
        RunError: its configuration names no data set of this codebase, or options that it does not take.
    """
    run = RunDirectory(Path(path))
    checkpoint = run.checkpoints / "best.ckpt"
    if not checkpoint.is_file():
        raise CheckpointError(f"{path}: holds no checkpoints/best.ckpt; give the directory of a trained run")
    task = Task.load_from_checkpoint(checkpoint)
    content = run.read_config()
    if place := read_checkpoint(checkpoint).get(STARTED_IN):
        resolve_options(content, os.path.normpath(run.path.resolve() / place))
    config = content.get("data")
    chosen = config if isinstance(config, dict) else {}
    given = chosen.get("init_args")
    name = str(chosen.get("class_path", "")).rpartition(".")[2]
    data_class = getattr(project.data, name, None)  # what a file names is looked up and not imported
    if not (isinstance(data_class, type) and issubclass(data_class, ImageDataModule)):
        raise RunError(f"{path}: config.yaml names no data set of project.data; got '{name}'")
    kept = {key: value for key, value in (given if isinstance(given, dict) else {}).items() if key not in _IN_TRAINING}
    try:
        kept = Schema(build=True).arguments(data_class, kept, "data")
    except SchemaError as error:
        raise RunError(f"{path}: config.yaml: {error}") from None
    looks = {"image_size": task.image_size, "center_crop": task.center_crop, "value_range": task.value_range}
    return Opened(task, data_class(**kept | looks | options))
