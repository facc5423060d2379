"""What all tasks share that learn from a teacher: where it comes from, and the student as a task by itself."""

from __future__ import annotations

import copy
import hashlib
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import torch
from torch import nn

from project.errors import CheckpointError, ConfigError
from project.runs.checkpoints import errors_of_checkpoint, read_checkpoint
from project.runs.directory import checkpoint_of
from project.runs.stored_paths import STARTED_IN
from project.tasks.base import Task

_EXPORTED = (
    "data",
    "epoch",
    "global_step",
    "pytorch-lightning_version",
    "precision",
    "schema",
    "state_dict",
    STARTED_IN,
)
_RECORD = "SaveCheckpoints"  # the callback whose state says how good the best weights were
_TaskT = TypeVar("_TaskT", bound=Task)


class Student:
    """Stands behind the plain task in the bases of one that learns from teachers.

    The teachers lie outside of the module: in nobody's parameters, optimizer, average, gradient synchronisation or
    checkpoint.
    """

    plain_task: ClassVar[str]
    """The task that a student is when it has learned."""
    own_options: ClassVar[tuple[str, ...]]
    """The arguments that the plain task does not have."""
    hparams: Any
    sources: list[str]
    """Where each teacher comes from."""

    def learn_from(self, teacher: str | list[str], **facts: Any) -> None:
        """Keeps the sources of the teachers, and with them what else a checkpoint says of the learning."""
        self.hparams.update({"teacher": teacher, **facts})
        self.sources = [teacher] if isinstance(teacher, str) else list(teacher)
        if not self.sources:
            raise ConfigError(f"model.teacher: name one or more; without any, train a {self.plain_task}")

    def replace_teachers(self, runs: dict[str, str]) -> None:
        """Puts trained runs in the place of the configurations that they were trained by."""
        self.sources = [runs.get(source, source) for source in self.sources]
        self.hparams["teacher"] = self.sources[0] if len(self.sources) == 1 else self.sources

    def exports(self, checkpoint: dict[str, Any]) -> dict[str, dict[str, Any]]:
        """What lies beside the best checkpoint, by its file's name: the student as a plain task.

        Args:
            checkpoint: the best one.
        """
        plain = {name: checkpoint[name] for name in _EXPORTED if name in checkpoint}
        facts = {name: value for name, value in checkpoint["hyper_parameters"].items() if name not in self.own_options}
        config = copy.deepcopy(checkpoint.get("config") or {})
        if config.get("model"):
            given = config["model"].get("init_args", {})
            options = {name: value for name, value in given.items() if name not in self.own_options}
            config["model"] = {"class_path": f"project.tasks.{self.plain_task}", "init_args": options}
        record = {name: state for name, state in checkpoint.get("callbacks", {}).items() if name == _RECORD}
        own = {"task": self.plain_task, "hyper_parameters": facts, "config": config, "callbacks": record}
        return {"student.ckpt": plain | own}


class TeacherTime:
    """The teacher's share of the time that training steps take, on the host's clock: nothing waits for a GPU."""

    def __init__(self) -> None:
        self._asking = self._steps = 0.0

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Inside it the teacher is asked."""
        start = time.perf_counter()
        yield
        self._asking += time.perf_counter() - start

    def start_step(self) -> None:
        """Begins a training step."""
        self._started = time.perf_counter()

    def end_step(self) -> None:
        """Ends it."""
        self._steps += time.perf_counter() - self._started

    def take(self) -> float:
        """The share, 0..1, since it was last taken."""
        share = self._asking / self._steps if self._steps else 0.0
        self._asking = self._steps = 0.0
        return share


def is_config(source: str) -> bool:
    """Whether a teacher is given as the configuration that trains it."""
    return Path(source).suffix in (".yaml", ".yml")


def find_teacher(source: str, forms: str) -> Path:
    """The checkpoint of a teacher.

    Args:
        source: a checkpoint, or a run's folder, which stands for its best one.
        forms: ends the message where it is neither: what else could be given.

    Raises:
        CheckpointError: there is no such checkpoint.
        ConfigError: it is a configuration.
    """
    path = Path(source)
    if is_config(source):
        raise ConfigError(f"model.teacher: {source} is a configuration; the command `fit` trains it first, elsewhere "
                          "give its run or its checkpoint")  # fmt: skip
    path = checkpoint_of(path, "best", "model.teacher")
    if not path.is_file():
        raise CheckpointError(f"model.teacher: {source}: there is no such checkpoint or run; give one, {forms}")
    return path


def load_teacher(path: Path, source: str, kind: type[_TaskT]) -> _TaskT:
    """The task of a teacher's checkpoint; of a best one with what its run found, and which metric's, as `recorded_best`.

    Args:
        path: as `find_teacher` found it.
        source: as it was given, for the message.
        kind: what it must be.

    Raises:
        CheckpointError: it is another task's.
    """
    with errors_of_checkpoint("model.teacher", f"a teacher is a run of this codebase; train a {kind.__name__} from these weights "
                                        f"first: fit --model.init_from {path}"):  # fmt: skip
        member: Any = Task.load_from_checkpoint(path)
        checkpoint = read_checkpoint(path)
    record = checkpoint.get("callbacks", {}).get(_RECORD)
    record = record if isinstance(record, dict) else {}
    is_best = record.get("best_step", "none") == checkpoint.get("global_step")  # a later one may be worse
    best = record.get("best_value")
    member.recorded_best = {record.get("monitor"): best} if is_best and isinstance(best, float) else {}
    if not isinstance(member, kind):
        raise CheckpointError(f"model.teacher: {source} holds a {type(member).__name__}; a {kind.__name__} is needed")
    return member


def check_measured(source: str, member: Any, metric: str, found: float, allowed_drop: float) -> None:
    """Compares a teacher, as it does on the validation split, with what its own run found there.

    Args:
        source: as it was given, for the message.
        member: the teacher's task.
        metric: what was measured, without its split.
        found: its value.
        allowed_drop: how much less than the recorded value is not taken for a mistake.

    Raises:
        CheckpointError: it is less than that.
    """
    recorded = getattr(member, "recorded_best", {}).get(f"val/{metric}")  # pretrained weights have none
    if recorded is not None and found < recorded - allowed_drop:
        raise CheckpointError(f"model.teacher: {source}: {metric} {found:.4f} on the validation split, and its own run found "
                              f"{recorded:.4f}; are data, preprocessing and options the same? If so, raise "
                              "model.allowed_drop")  # fmt: skip


def fingerprint(networks: Iterable[nn.Module]) -> str:
    """A hash of all parameters and buffers."""
    digest = hashlib.sha256()
    for network in networks:
        for name, value in network.state_dict().items():
            digest.update(name.encode() + value.cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]
