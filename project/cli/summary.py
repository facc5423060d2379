"""What a run says of itself before it starts and after it has ended."""

from __future__ import annotations

import shlex
from pathlib import Path

import torch
from lightning.pytorch import LightningDataModule, Trainer

from project.callbacks.predictions import PREDICTIONS, WritePredictions
from project.data import ImageDataModule
from project.data.captions.base import CaptionDataModule
from project.data.samples import Split
from project.runs.directory import RunDirectory
from project.runs.results import results_path
from project.tasks import Task

_LISTED = 10
_SPLITS: dict[Split, str] = {"train": "training", "val": "validation", "test": "test"}


def opening(task: Task, data: LightningDataModule, trainer: Trainer, run: RunDirectory, verb: str) -> list[str]:
    """What is about to run: data, network, device, and where to watch it, in lines."""
    lines = {}
    if verb == "predict":
        given = getattr(data, "predict", None)
        lines["images"] = f"{given[0]} and {len(given) - 1} more" if isinstance(given, list) else str(given)
    elif isinstance(data, ImageDataModule):  # of another the project knows nothing
        lines["data"] = _data(data)
    lines |= {"network": _network(task), "device": _device(trainer)}
    if verb == "fit":
        lines["watch"] = f"tensorboard --logdir {_quoted(run.path.parent.parent)}"
    return [f"{name}: {text}" for name, text in lines.items()]


def closing(task: Task, run: RunDirectory, verb: str, checkpoint: str | None = None) -> list[str]:
    """What a run that came to its end has left behind, and what to do next, in lines."""
    if verb == "predict":
        page = (run.path / "index.html").resolve().as_uri()
        return [f"predictions: {run.path / 'predictions.jsonl'}", f"gallery: {page}"]
    if verb != "fit":
        shown = {name: value for name, value in task.results.items() if "/class_accuracy/" not in name}
        width = max(map(len, shown), default=0) + 2
        table = [f"{name:{width}}{value:.4f}" for name, value in shown.items()]
        return [*table, f"metrics: {results_path(run, verb, 'metrics.json', checkpoint)}", *_next(run, "report")]
    kept = sorted(path.name for path in run.checkpoints.glob("*.ckpt"))
    checkpoints = [f"checkpoints: {run.checkpoints} ({', '.join(kept)})"] if kept else []
    return [*checkpoints, *(_next(run, "test", "predict", "report") if "best.ckpt" in kept else [])]


def unreadable(predictions: WritePredictions) -> list[str]:
    """Some of the files that could not be read, and in the last line how many there are; nothing where all could be."""
    found, total = predictions.unreadable, len(predictions.inputs)
    if not found:
        return []
    more = [f"unreadable: {len(found) - _LISTED} more"] if len(found) > _LISTED else []
    return [*(f"unreadable: {each}" for each in found[:_LISTED]), *more,
            f"{len(found)} of {total} files could not be read; their rows in {PREDICTIONS} have an error"]  # fmt: skip


def how_to_go_on(run: RunDirectory) -> str:
    """How a run that was stopped is resumed; nothing where it has not got that far."""
    if not (run.checkpoints / "last.ckpt").exists():
        return ""
    return f"to go on: python -m project fit --ckpt_path {_quoted(run.path)}"


def _next(run: RunDirectory, *what: str) -> list[str]:
    path = _quoted(run.path)
    commands = {
        "test": f"python -m project test --ckpt_path {path}",
        "predict": f"python -m project predict --ckpt_path {path} --data.predict IMAGES",
        "report": f"python scripts/report.py --ckpt_path {path}",
    }
    return [f"next: {commands[each]}" for each in what]


def _quoted(path: Path) -> str:
    """For a shell: a directory that someone else named may hold a command."""
    return shlex.quote(str(path))


def _data(data: ImageDataModule) -> str:
    counts = [f"{len(data.splits[split]):,} {name}" for split, name in _SPLITS.items() if split in data.splits]
    images = f"{', '.join(counts[:-1])} and {counts[-1]} images" if len(counts) > 1 else f"{counts[0]} images"
    side = data.image_size
    classes = "" if isinstance(data, CaptionDataModule) else f", {len(data.class_names)} classes"
    return f"{type(data).__name__}, {images} of {side} × {side} pixels{classes}"


def _network(task: Task) -> str:
    name = task.hparams["backbone"]
    if "decoder" in task.hparams:
        decoder = task.hparams["decoder"]
        name += f" and {decoder['cell']} decoder with attention {decoder['attention']}"
    learned = sum(parameter.numel() for parameter in task.parameters())
    return f"{type(task).__name__}, {name}, {learned:,} parameters"


def _device(trainer: Trainer) -> str:
    device: torch.device = trainer.strategy.root_device
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    else:
        threads = torch.get_num_threads()
        name = f"{device.type} with {threads} thread{'s' if threads != 1 else ''}"
    processes = f"{trainer.world_size} × " if trainer.world_size > 1 else ""
    return f"{processes}{name}, {trainer.precision}"
