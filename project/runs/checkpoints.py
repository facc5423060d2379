"""Checkpoint files: written whole or not at all, opened without running anything that is in them."""

from __future__ import annotations

import errno
import pickle
import re
import sys
import warnings
import zipfile
from collections.abc import Container
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import CheckpointIO, ClusterEnvironment, Precision, TorchCheckpointIO
from lightning.pytorch import Callback, LightningDataModule, LightningModule
from lightning.pytorch.accelerators import Accelerator
from lightning.pytorch.loggers import Logger
from lightning.pytorch.plugins import LayerSync
from lightning.pytorch.profilers import Profiler
from lightning.pytorch.strategies import Strategy
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from project.errors import CheckpointError
from project.files import atomic_write

SCHEMA = 1  # of what tasks put in a checkpoint: raise it when an older one needs translating

_SECTIONS = ("model", "data")
_CLASS_OPTIONS = ("optimizer", "lr_scheduler", "callbacks", "logger", "plugins", "profiler", "strategy", "accelerator")
_DAMAGES = (RuntimeError, EOFError, OSError, ValueError, KeyError, IndexError, AttributeError, zipfile.BadZipFile)
_PARTS = (LightningModule, LightningDataModule, Optimizer, LRScheduler, Callback, Logger, Profiler, Strategy,
          Accelerator, Precision, CheckpointIO, ClusterEnvironment, LayerSync)  # fmt: skip


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes beside the target, proves that what was written opens, then renames: a save that fails changes nothing.

    Lightning's own writes to the temporary folder and then moves, which destroys the target when the disk is full and
    the two are on different file systems.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Saves `checkpoint` at `path`, whose folder is made if need be.

        Raises:
            OSError: there is no room for it, or no right to write.
            CheckpointError: it holds a class, such as a callback's state may, and would not open again.
        """
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with atomic_write(target) as file:
                torch.save(checkpoint, file)
                file.flush()
                _prove(file.name, target)
        except RuntimeError as error:
            # torch's zip writer fails once more while it closes a file that the disk had no room for
            raise error.__context__ if isinstance(error.__context__, OSError) else error from None

    def load_checkpoint(self, path: str | Path, map_location: Any = None, weights_only: Any = None) -> dict[str, Any]:
        """Opens `path` as `read_checkpoint` does; never with pickled code."""
        return read_checkpoint(path, map_location or "cpu")


def _prove(written: str, target: Path) -> None:
    """Raises where a file does not open; reads it once, at gigabytes a second."""
    try:
        _open(written, "cpu", mmap=True)
    except (pickle.UnpicklingError, *_DAMAGES) as error:
        foreign = re.search(r"GLOBAL (\S+)", str(error))
        if foreign is None:
            raise OSError(errno.EIO, f"what was written is not what is read: {_first_line(error)}") from None
        raise CheckpointError(f"{target}: would not open again, since it holds a {foreign[1]}; in their state, callbacks "
                              "and tasks keep plain types and tensors alone") from None  # fmt: skip


def read_checkpoint(path: str | Path, map_location: Any = "cpu") -> dict[str, Any]:
    """A checkpoint of this codebase.

    Raises:
        CheckpointError: the file is absent, truncated, no checkpoint of a task here, or holds pickled code.
    """
    checkpoint = _load(path, map_location, "ckpt_path")
    if not isinstance(checkpoint, dict) or not {"state_dict", "task", "hyper_parameters"} <= checkpoint.keys():
        raise CheckpointError(f"ckpt_path: {path}: not a checkpoint of this codebase; to start from its weights, "
                              "use --model.init_from")  # fmt: skip
    if checkpoint.get("schema", 0) > SCHEMA:
        raise CheckpointError(f"ckpt_path: {path}: written by a newer version of this codebase; update to open it")
    return checkpoint


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """The named tensors of a file: a checkpoint's `state_dict`, or a plain dictionary of tensors.

    Raises:
        CheckpointError: the file is absent, damaged, holds pickled code, or no tensors.
    """
    content = _load(path, "cpu", "model.init_from")
    content = content.get("state_dict", content) if isinstance(content, dict) else {}
    weights = {name: value for name, value in content.items() if isinstance(value, Tensor)}
    if not weights:
        raise CheckpointError(f"model.init_from: {path}: holds no named tensors")
    return weights


def _load(path: str | Path, map_location: Any, option: str) -> Any:
    if not Path(path).is_file():
        raise CheckpointError(f"{option}: {path}: there is no such file; look in runs/NAME/version_N/checkpoints")
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Detected pickle protocol")  # a foreign file, about to be refused
            return _open(path, map_location)
    except pickle.UnpicklingError as error:
        if "Unsupported" in str(error) and zipfile.is_zipfile(path):
            raise CheckpointError(f"{option}: {path}: refused, since it holds pickled code besides numbers and text; "
                                  "only checkpoints written by this codebase are opened") from None  # fmt: skip
        raise CheckpointError(f"{option}: {path}: not a checkpoint, or a damaged one") from None
    except _DAMAGES as error:
        raise CheckpointError(
            f"{option}: {path}: damaged or cut short ({_first_line(error)}); use an earlier one"
        ) from None


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _open(path: str | Path, map_location: Any, mmap: bool = False) -> Any:
    """The content of a file, of which every byte is as it was written: torch does not look at the checksums."""
    content = torch.load(path, map_location=map_location, weights_only=True, mmap=mmap)
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if (part := archive.testzip()) is not None:
                raise ValueError(f"the checksum of {part} is wrong")
    return content


def check_no_new_classes(config: Any, path: str | Path, given: Container[str] = ()) -> None:
    """Refuses a configuration from a checkpoint that names a class which is not loaded, or is no part of a run.

    A class path is imported when it is parsed, so one from a file could run any module that is installed.

    Args:
        config: the configuration, or a part of it.
        path: the checkpoint, for the message.
        given: classes that the user names, too.

    Raises:
        CheckpointError: so it does.
    """
    if isinstance(config, dict):
        for key, value in config.items():
            if key == "class_path":
                _check_class(value, path, given)
            elif key in _SECTIONS and isinstance(value, str):
                raise CheckpointError(f"ckpt_path: {path}: its {key} is only the name '{value}'; not opened")
            elif key in _CLASS_OPTIONS:
                for name in value if isinstance(value, list) else [value]:
                    if isinstance(name, str) and "." in name:
                        _check_class(name, path, given)
            check_no_new_classes(value, path, given)
    elif isinstance(config, list):
        for value in config:
            check_no_new_classes(value, path, given)


def _check_class(name: str, path: str | Path, given: Container[str]) -> None:
    module, _, attribute = str(name).rpartition(".")
    found = getattr(sys.modules.get(module), attribute, None)
    if name not in given and (not isinstance(found, type) or not issubclass(found, _PARTS)):
        raise CheckpointError(f"ckpt_path: {path}: names '{name}', which is not loaded or no part of a run; "
                              "give its options with --config, too, if it is yours")  # fmt: skip
