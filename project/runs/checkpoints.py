"""Checkpoint files: written whole or not at all, opened without running anything that is in them."""

from __future__ import annotations

import errno
import pickle
import re
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO
from torch import Tensor

from project.errors import CheckpointError
from project.files import atomic_write
from project.runs.stored_paths import STARTED_IN, resolve_paths

_VERSION = re.compile(r"\d+(\.\w+)*([+.-]\w+)*")
SCHEMA = 1  # of what tasks put in a checkpoint: raise it when an older one needs translating
_START = "to start from its weights, use --model.init_from"

_DAMAGES = (RuntimeError, EOFError, OSError, ValueError, KeyError, IndexError, AttributeError, zipfile.BadZipFile)
_DEEPEST = 40  # levels of nesting; the deepest that a run here writes is 9
_LARGEST = 10_000_000  # values, counted with repetition: a small file can refer to the same list again and again
_PLAIN = (bool, int, float, str, bytes, type(None), Tensor)
_PARTS: dict[str, type | tuple[type, ...]] = {
    "state_dict": dict, "task": str, "hyper_parameters": dict, "config": (dict, type(None)), "schema": int, "epoch": int,
    "global_step": int, "loops": dict, "callbacks": dict, "optimizer_states": list, "lr_schedulers": list,
    "pytorch-lightning_version": str, "training_means": dict, "results": dict, "random_state": list,
    "precision": str, STARTED_IN: str,
}  # fmt: skip
"""The types of what a checkpoint holds at its top."""


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

    def remove_checkpoint(self, path: str | Path) -> None:
        """Removes a checkpoint file, for Lightning's callbacks; a saved state of theirs cannot name anything else."""
        target = Path(path)
        if target.suffix == ".ckpt" and target.is_file() and not target.is_symlink():
            target.unlink()

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
        raise CheckpointError(f"ckpt_path: {path}: not a checkpoint of this codebase; {_START}")
    where = f"ckpt_path: {path}"
    check_plain(checkpoint, where)
    for name, kind in _PARTS.items():
        if name in checkpoint and (not isinstance(checkpoint[name], kind) or isinstance(checkpoint[name], bool)):
            raise CheckpointError(f"{where}: damaged: its {name} is a {type(checkpoint[name]).__name__}")
    if not all(isinstance(value, Tensor) for value in checkpoint["state_dict"].values()):
        raise CheckpointError(f"{where}: damaged: its weights are not all tensors")
    if not _VERSION.fullmatch(checkpoint.get("pytorch-lightning_version", "0")):
        raise CheckpointError(f"{where}: damaged: it names no version of Lightning")
    if checkpoint.get("schema", 0) > SCHEMA:
        raise CheckpointError(f"ckpt_path: {path}: written by a newer version of this codebase; update to open it")
    resolve_paths(checkpoint, Path(path))
    return checkpoint


@contextmanager
def errors_of_checkpoint(option: str, advice: str) -> Iterator[None]:
    """Inside it, what is wrong with a checkpoint is said of another option than `ckpt_path`.

    Args:
        option: which names the checkpoint.
        advice: what to give in place of a file that is no checkpoint of this codebase.
    """
    try:
        yield
    except CheckpointError as error:
        line = str(error).replace("ckpt_path", option, 1).replace(_START, advice)
        raise CheckpointError(line) from None


def check_plain(content: Any, where: str) -> None:
    """Refuses content with other types than plain ones and tensors, that contains itself, or that is boundless.

    Raises:
        CheckpointError: `where` holds such content.
    """
    level, count = [content], 0
    for _ in range(_DEEPEST):
        following: list[Any] = []
        for value in level:
            # torch restores attributes, which could hide what is inside
            if vars(value).keys() - {"_metadata"} if hasattr(value, "__dict__") else ():
                raise CheckpointError(f"{where}: refused, since a {type(value).__name__} in it has attributes")
            if isinstance(value, dict):
                following += value.keys()
                following += value.values()
            elif isinstance(value, (list, tuple, set)):
                following += value
            elif not isinstance(value, _PLAIN) or (isinstance(value, Tensor) and not _is_whole(value)):
                raise CheckpointError(
                    f"{where}: refused, since it holds a {type(value).__name__} besides numbers and text"
                )
            if count + len(following) > _LARGEST:
                raise CheckpointError(f"{where}: damaged: it holds more than {_LARGEST:,} values")
        level, count = following, count + len(following)
        if not level:
            return
    raise CheckpointError(f"{where}: damaged: it is nested more than {_DEEPEST} levels deep")


def _is_whole(tensor: Tensor) -> bool:
    """True if the file has all numbers of a tensor: one repeated a billion times would take memory when it is copied."""
    if tensor.layout is not torch.strided or tensor.is_neg() or tensor.is_conj():
        return False
    return tensor.numel() * tensor.element_size() <= max(tensor.untyped_storage().nbytes(), 2**20)


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
    if not zipfile.is_zipfile(path):
        return torch.load(path, map_location=map_location, weights_only=True)
    with zipfile.ZipFile(path) as archive:
        if any(part.compress_type != zipfile.ZIP_STORED for part in archive.infolist()):
            raise ValueError("it is compressed, as torch writes no file")  # and may be of any size once it is read
        content = torch.load(path, map_location=map_location, weights_only=True, mmap=mmap)
        if (damaged := archive.testzip()) is not None:
            raise ValueError(f"the checksum of {damaged} is wrong")
    return content
