"""Teachers that are configurations: trained before their student, once, each in a run directory of its own."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from lightning.pytorch.utilities.rank_zero import rank_zero_info

from project import tasks
from project.cli.command import Command, read_command
from project.errors import ConfigError
from project.runs.directory import find_runs, find_unfinished, was_started_with
from project.tasks.base import Task
from project.tasks.student import is_config
from project.yaml_files import dump_yaml

_SHARED = ("accelerator", "devices", "num_nodes", "strategy", "precision", "deterministic")
"""What a teacher takes from the student's trainer, where its own configuration does not say it."""


def teachers_to_train(command: Command) -> dict[str, Command]:
    """The commands that train the student's teachers, by the configuration that stands for each.

    A teacher learns from the student's data, as far as its own configuration does not say otherwise.
    """
    configs = [source for source in _sources(command.config.model.init_args.get("teacher")) if is_config(source)]
    if not configs or command.verb != "fit":
        return {}
    student = command.plain_config()
    data: dict[str, Any] = student["data"]
    options = {name: value for name, value in data.get("init_args", {}).items() if name not in ("seed", "predict")}
    under = {
        "data": {**data, "init_args": options},
        "trainer": {name: value for name, value in student["trainer"].items() if name in _SHARED},
        "seed": student["seed"],
        "progress": student["progress"],
    }
    found = {source: _command(source, under, command.root) for source in configs}
    needed = getattr(tasks, _class_of(command).plain_task)
    for source, teaching in found.items():
        _check_kind(source, teaching, needed)
    return found


def _check_kind(source: str, teaching: Command, needed: type[Task]) -> None:
    """Refuses what is found out otherwise when it has been trained."""
    kind = _class_of(teaching)
    if not issubclass(kind, needed):
        raise ConfigError(f"model.teacher: {source} trains a {kind.__name__}; a {needed.__name__} is needed")
    losses = teaching.plain_config()["model"]["init_args"].get("losses") or []
    if any(term["name"] == "simkd" for term in losses):
        raise ConfigError(f"model.teacher: what {source} trains answers through its own teacher's classifier (simkd); give "
                          "that teacher")  # fmt: skip


def _class_of(command: Command) -> Any:
    module, _, name = command.config.model.class_path.rpartition(".")
    return getattr(import_module(module), name)


def teachers_of_checkpoint(command: Command) -> dict[str, str]:
    """The runs that the checkpoint's student learned from, by the configurations that stand for them now."""
    if command.verb == "fit" or command.checkpoint is None:
        return {}
    given = _sources(command.config.model.init_args.get("teacher"))
    saved = _sources(command.checkpoint["hyper_parameters"].get("teacher"))
    return {source: run for source, run in zip(given, saved, strict=False) if is_config(source)}


def _sources(given: str | list[str] | None) -> list[str]:
    return [given] if isinstance(given, str) else given or []


def finished_run(command: Command) -> Path | None:
    """The newest run that this very configuration has finished."""
    config = command.plain_config()
    for run in reversed(find_runs(command.root, command.name)):
        if run.finished and was_started_with(run, config):
            return run.path
    return None


def _command(source: str, under: dict[str, Any], root: str) -> Command:
    own = ["--name", f"teacher-{Path(source).stem}", "--trainer.default_root_dir", root]
    args = ["--config", dump_yaml(under, in_line=True), "--config", source, *own]
    command = read_command(["fit", *args])
    if finished_run(command) is None:
        rank_zero_info(f"teacher: {source} is trained first, in {Path(root, command.name)}")
        if unfinished := find_unfinished(command.plain_config(), root, command.name):
            return read_command(["fit", *args, "--ckpt_path", str(unfinished)])
    return command
