"""What is exported: the task of a checkpoint, as it answers by itself."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, NamedTuple

from project.errors import CheckpointError
from project.runs.checkpoints import read_checkpoint
from project.runs.directory import checkpoint_of
from project.tasks import Captioner, Classifier, Task
from project.tasks.student import Student

TASKS: dict[str, type[Task]] = {"Classifier": Classifier, "Captioner": Captioner}


class Subject(NamedTuple):
    """A network to export."""

    task: Task
    """In evaluation mode, on the processor, in 32 bits; of a distiller the student."""
    path: Path
    """Of the checkpoint."""
    sha256: str
    """Of the checkpoint."""
    checkpoint: dict[str, Any]
    """Its content; of a distiller the student's."""


def open_subject(source: str) -> Subject:
    """Opens a checkpoint, or the best one of a run's folder.

    Raises:
        CheckpointError: there is none, or it is no network by itself.
    """
    path = checkpoint_of(Path(source), "best")
    checkpoint = read_checkpoint(path)
    task = Task.load_from_checkpoint(path)
    checkpoint["hyper_parameters"] = dict(task.hparams)  # checked, as the file's own are not
    if isinstance(task, Student):
        student = task.exports(checkpoint).get("student.ckpt")
        if student is None:
            raise CheckpointError(f"ckpt_path: {path}: with simkd the student answers through its teacher's classifier "
                                  "and is no network by itself; export a student of other losses")  # fmt: skip
        checkpoint = student
        task = rebuild(checkpoint["task"], checkpoint["hyper_parameters"], checkpoint["state_dict"])
    if type(task).__name__ not in TASKS:
        raise CheckpointError(f"ckpt_path: {path}: holds a {type(task).__name__}; only classifiers and captioners are "
                              "exported")  # fmt: skip
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Subject(task, path, digest, checkpoint)


def rebuild(name: str, hyper_parameters: dict[str, Any], state_dict: dict[str, Any]) -> Task:
    """The task of this name with its weights, in evaluation mode."""
    task = TASKS[name].build(hyper_parameters, "the student")
    task.load_state_dict(state_dict)
    return task.eval()
