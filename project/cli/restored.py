"""Options of a run that its checkpoint restores: plain values, and the names of classes that are loaded."""

from __future__ import annotations

from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningDataModule, Trainer
from lightning.pytorch.strategies import Strategy, StrategyRegistry
from lightning.pytorch.utilities.rank_zero import rank_zero_info
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from project.callbacks.progress import ProgressStyle
from project.cli.arguments import Arguments
from project.cli.parser import GROUPS
from project.data.facts import FACTS
from project.data.store import num_cpus
from project.errors import CheckpointError
from project.runs.schema import Schema, SchemaError, brief, import_path, is_output, loaded_class, parameters, subclasses
from project.tasks import Task
from project.tasks.student import is_config

_PLACES = ("name", "ckpt_path", "config")  # only the user says them
_NETWORKED = ("logger", "plugins", "profiler", "model_registry")  # options of the Trainer that send or write
_CALLBACKS = ("EarlyStopping", "GradientAccumulationScheduler", "LearningRateMonitor")
"""Callbacks of Lightning that neither write, nor send, nor look for a setting."""


class RestoredOptions:
    """The options that a checkpoint holds, checked against the signatures that they are for.

    What cannot be restored is refused, unless the user gives it: an object that is not a loaded class with plain
    arguments, a logger, a text of a foreign class. Places to write to are left out.

    Args:
        checkpoint: its content.
        path: of the checkpoint.
        arguments: what the user gives.
    """

    def __init__(self, checkpoint: dict[str, Any], path: Path, arguments: Arguments) -> None:
        self._path = path
        self._arguments = arguments
        self._checkpoint = checkpoint
        self._config = checkpoint.get("config") or {}
        # not those that import more, as deepspeed does
        strategies = [name for name in StrategyRegistry.available_strategies() if name.startswith(("ddp", "fsdp"))]
        words = frozenset([*strategies, "auto", "single_device", "cpu", "cuda", "gpu", "mps"])
        self._schema = Schema((Optimizer, LRScheduler, Callback, Strategy), words)
        self.left_out: dict[str, str] = {}
        """Places to write to that the run had, by their options."""
        for name in arguments.class_names:  # so that the checkpoint may name what the user names
            with suppress(ImportError, ValueError):
                import_module(name.rpartition(".")[0])

    def training(self) -> dict[str, Any]:
        """Everything but model and data."""
        found: dict[str, Any] = {}
        for name, value in self._config.items():
            if name in GROUPS:
                found[name] = self._options(name, GROUPS[name], value)
            elif name == "trainer":
                found[name] = self._options(name, Trainer, value)
            elif name in ("seed", "progress"):
                found |= self._option(name, int if name == "seed" else ProgressStyle, value)
            elif name not in (*_PLACES, "model", "data"):
                self._refuse(f"{name!r:.80}: there is no such option")
        return found

    def data(self) -> dict[str, Any] | None:
        """The data section; none where the checkpoint has none, or the user names a class that is not loaded."""
        found = self._object("data", LightningDataModule)
        if found and (found["init_args"].get("num_workers") or 0) > num_cpus():
            del found["init_args"]["num_workers"]  # of another machine; it changes no result
        return found

    def task_class(self) -> type[Task]:
        """The class of the checkpoint's task, which is loaded, and no other than the user names.

        Raises:
            CheckpointError: it is not.
        """
        name = self._checkpoint["task"]
        given = self._arguments.last("model")
        given = given.get("class_path") if isinstance(given, dict) else given
        if given and str(given).rpartition(".")[2] != name:
            raise CheckpointError(f"ckpt_path: {self._path} holds a {name}, and model.class_path is a {given}; leave the model "
                                  "out, or give its own configuration")  # fmt: skip
        kept = self._config.get("model")
        full = kept.get("class_path") if isinstance(kept, dict) else None
        for known in (full, name):
            with suppress(SchemaError):
                found: Any = loaded_class(known, (Task,), "task")
                if found.__name__ == name:
                    return found
        return Task.of_checkpoint(self._checkpoint, f"ckpt_path: {self._path}")

    def model(self) -> dict[str, Any]:
        """The model section for `fit`: options of the run, of which `hyper_parameters` are the final word.

        What follows from the data is left out: they have it again, and must agree.
        """
        task_class = self.task_class()
        facts = task_class.check_hyper_parameters(
            self._checkpoint["hyper_parameters"], f"ckpt_path: {self._path}", self._checkpoint["state_dict"]
        )
        facts = self._options("model", task_class, facts)
        kept = self._object("model", Task) or {"init_args": {}}
        # what was left out stays so: made {}, say, it would be another configuration, and `auto` would not find its run
        unset = {name: None for name, value in kept["init_args"].items() if value is None}
        options = {**kept["init_args"], **facts, **unset}
        self.check_teachers(options.get("teacher"))
        options = {name: value for name, value in options.items() if name not in FACTS}
        return {"class_path": import_path(task_class), "init_args": options}

    def check_teachers(self, teacher: Any) -> None:
        """Refuses a teacher that would be trained by a configuration which the user has not given."""
        for source in _as_list(teacher):
            if is_config(source) and not self._arguments.gives("model.teacher"):
                self._refuse(f"model.teacher: {source!r:.80} is a configuration")

    def name_places(self) -> None:
        """Names the places to write to that were left out; a run's root follows from its checkpoint."""
        if places := sorted(self.left_out.keys() - {"trainer.default_root_dir"}):
            rank_zero_info(f"not restored, since only you say where files are written: {', '.join(places)}")

    def _object(self, section: str, base: type) -> dict[str, Any] | None:
        kept = self._config.get(section)
        if kept is None:
            return None
        if (
            not isinstance(kept, dict)
            or not isinstance(kept.get("class_path"), str)
            or kept.keys() - {"class_path", "init_args"}
        ):
            if self._arguments.gives(section):
                return None
            self._refuse(f"{section}: must name a class with its options; found {brief(kept)}")
        try:
            found = loaded_class(kept["class_path"], (base,), section)
        except SchemaError as error:
            if self._arguments.gives(section):
                return None
            self._refuse(str(error))
        options = kept.get("init_args")
        options = self._options(section, found, {} if options is None else options)
        return {"class_path": import_path(found), "init_args": options}

    def _options(self, section: str, owner: Any, values: Any) -> dict[str, Any]:
        if not isinstance(values, dict):
            self._refuse(f"{section}: must be a mapping")
        known, found = parameters(owner), dict[str, Any]()
        for name, value in values.items():
            if name in known and is_output(known[name]):
                if value is not None and not self._arguments.gives(f"{section}.{name}"):
                    self.left_out[f"{section}.{name}"] = str(value)
            elif owner is Trainer and not _is_harmless(name, value):
                if not self._arguments.gives(f"{section}.{name}"):
                    self._refuse(f"{section}.{name}: must be given by yourself")
            else:
                found |= self._option(name, owner, value, section)
        return found

    def _option(self, name: Any, owner: Any, value: Any, section: str = "") -> dict[str, Any]:
        place = f"{section}.{name}" if section else name
        try:
            if section:
                return self._schema.arguments(owner, {name: value}, section)
            return {name: self._schema.value(value, owner, name)}
        except SchemaError as error:
            if not isinstance(name, str) or not self._arguments.gives(place):
                self._refuse(str(error))
            return {}

    def _refuse(self, reason: str) -> Any:
        raise CheckpointError(f"ckpt_path: {self._path}: of its run's options, {reason}; only plain values and loaded classes "
                              "are restored; give the rest with --config")  # fmt: skip


def _is_harmless(name: str, value: Any) -> bool:
    """True if an option of the Trainer writes nowhere, and starts no more processes than there are devices or cores."""
    if name in _NETWORKED:
        return value is None or type(value) is bool
    if name == "num_nodes":
        return value is None or (type(value) is int and value == 1)
    if name == "devices":
        wanted = len(value) if isinstance(value, list) else value
        wanted = int(wanted) if isinstance(wanted, str) and wanted.isdecimal() else wanted
        return type(wanted) is not int or wanted <= max(torch.cuda.device_count(), num_cpus())
    if name == "strategy" and isinstance(value, dict):
        return str(value.get("class_path")).rpartition(".")[2] in ("DDPStrategy", "FSDPStrategy")
    if name == "callbacks":
        specs = value if isinstance(value, list) else [value]
        return all(map(_is_usual_callback, specs))
    return True


def _is_usual_callback(spec: Any) -> bool:
    name = spec.get("class_path") if isinstance(spec, dict) else spec
    if not isinstance(name, str) or (
        not name.startswith(("lightning.", "pytorch_lightning.", "project.")) and "." in name
    ):
        return True  # the user's, if it is loaded; which is looked at later
    short = name.rpartition(".")[2]
    return short in _CALLBACKS or (
        "." not in name
        and not any(
            cls.__name__ == short and cls.__module__.startswith(("lightning.", "project."))
            for cls in subclasses(Callback)
        )
    )


def _as_list(value: Any) -> list[Any]:
    return [v for v in (value if isinstance(value, list) else [value]) if isinstance(v, str)]
