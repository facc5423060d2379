"""What memory grows with, and what it does not."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import io
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from benchmarks.timing import Row
from lightning.pytorch import Callback
from PIL import Image
from torchmetrics import Metric

from project.cli import main as project_main
from project.metrics.captions import CaptionScores
from project.metrics.classification import SplitScores

_ROOT = Path(__file__).resolve().parents[2]
_COUNT, _TIMES, _SIZE, _CLASSES, _DIFFERENT = 2000, 3, 96, 10, 200
_VALIDATIONS = (10, 100, 1000)
_WORDS = [
    "a",
    "man",
    "in",
    "red",
    "shirt",
    "is",
    "standing",
    "on",
    "the",
    "beach",
    "with",
    "his",
    "dog",
    "while",
    "two",
    "children",
    "play",
]

_PEAK = """
import resource, sys
from project.cli import main
main(sys.argv[1:])
who = resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN
print(*(resource.getrusage(each).ru_maxrss / 1024 for each in who))
"""


def measure_memory_of_sets() -> list[Row]:
    """Peak memory of `fit`, MiB, on a set and on one of three times as many images; 96 × 96 pixels."""
    with tempfile.TemporaryDirectory() as folder:
        sets = [_images(Path(folder, str(count)), count) for count in (_COUNT, _TIMES * _COUNT)]
        rows = []
        for storage in ("stream", "resident"):
            peaks = [_peak(images, storage, Path(folder)) for images in sets]
            for part, (small, large) in zip(
                ("training process", "largest worker"), zip(*peaks, strict=True), strict=True
            ):
                if storage == "resident" and part == "largest worker":
                    continue  # it has none
                rows.append({"storage": storage, "process": part, f"{_COUNT:,} images": round(small),
                             f"{_TIMES * _COUNT:,} images": round(large), "growth": round(large - small)})  # fmt: skip
    pixels = (_TIMES - 1) * _COUNT * _SIZE**2 * 3 / 2**20
    return [*rows, dict.fromkeys(rows[0], "") | {"storage": "the pixels that are more", "growth": round(pixels)}]


def measure_memory_of_validations() -> list[Row]:
    """Memory of a run, MiB, as its validations add up: an epoch of one batch before each, both checkpoints after it."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for task, options in (("Classifier", _classifier()), ("Captioner", _captioner())):
            _Watch.found.clear()
            watch = ("--trainer.callbacks", json.dumps([{"class_path": f"{__name__}._Watch"}]))
            length = ("--trainer.max_epochs", _VALIDATIONS[-1], "--trainer.limit_train_batches", 1)
            where = ("--trainer.default_root_dir", folder, "--progress", "none",
                     "--trainer.enable_model_summary", "false")  # fmt: skip
            with contextlib.redirect_stdout(io.StringIO()):
                project_main([*map(str, ("fit", *options, *length, *where, *watch))])
            middle, last = (_Watch.found[count] for count in _VALIDATIONS[1:])
            per_validation = 1024 * (last - middle) / (_VALIDATIONS[-1] - _VALIDATIONS[-2])
            found = {f"after {count:,}": round(_Watch.found[count], 1) for count in _VALIDATIONS}
            rows.append({"task": task, **found, "KiB a validation": round(per_validation, 2)})
    return rows


def measure_memory_of_metrics() -> list[Row]:
    """What metrics keep of a split, in bytes; captions of 12 words, five references an image."""
    rows = []
    for name, fill in (("SplitScores, 1,000 classes", _classified), ("CaptionScores", _captioned)):
        sizes = {count: fill(count) for count in (1_000, 10_000)}
        more = (sizes[10_000] - sizes[1_000]) / 9_000
        found = {f"{count:,} images": f"{size:,}" for count, size in sizes.items()}
        rows.append({"metrics": name, **found, "an image": round(more, 1)})
    return rows


# ---- sets of images


def _images(folder: Path, count: int) -> Path:
    """As many files as that, of which only a few have a content of their own."""
    random = np.random.default_rng(0)
    originals = []
    for label in range(_CLASSES):
        (folder / str(label)).mkdir(parents=True)
    for number in range(count):
        path = folder / str(number % _CLASSES) / f"{number:06}.png"
        if number < _DIFFERENT:
            Image.fromarray(random.integers(0, 256, (_SIZE, _SIZE, 3), np.uint8)).save(path)
            originals.append(path)
        else:
            os.link(originals[number % _DIFFERENT], path)
    return folder


def _peak(images: Path, storage: str, folder: Path) -> tuple[float, float]:
    """Of the process that trains, and of the largest of its workers."""
    options = ("fit", "--model", "Classifier", "--model.backbone_options", '{"width": 4}', "--data", "ImageFolder", "--data.root", images,
               "--data.image_size", _SIZE, "--data.storage", storage, "--data.num_workers", 2, "--data.batch_size", 64,
               "--data.eval_batch_size", 64,
               "--data.cache_dir", folder / "cache", "--trainer.max_epochs", 1, "--trainer.accelerator", "cpu",
               "--trainer.default_root_dir", folder / "runs", "--progress", "none")  # fmt: skip
    environment = os.environ | {"PYTHONPATH": str(_ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", _PEAK, *map(str, options)]
    done = subprocess.run(command, capture_output=True, check=True, encoding="utf-8", env=environment)
    own, workers = map(float, done.stdout.splitlines()[-1].split())
    return own, workers


# ---- validations


class _Watch(Callback):
    """Notes the memory in use after so many validations."""

    found: ClassVar[dict[int, float]] = {}

    def __init__(self) -> None:
        self.count = 0

    def on_validation_end(self, trainer: object, pl_module: object) -> None:
        self.count += 1
        if self.count in _VALIDATIONS:
            gc.collect()
            ctypes.CDLL(None).malloc_trim(0)  # or what the allocator keeps for later differs by a hundred MiB
            pages = int(Path("/proc/self/statm").read_text("utf-8").split()[1])
            self.found[self.count] = pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def _classifier() -> tuple[object, ...]:
    return ("--model", "Classifier", "--model.backbone", "simple_cnn", "--data", "Digits", "--data.batch_size", 64,
            "--name", "classifier")  # fmt: skip


def _captioner() -> tuple[object, ...]:
    return ("--model", "Captioner", "--model.backbone_options", '{"width": 4}', "--model.decoder.embedding_size", 16,
            "--model.decoder.hidden_size", 16, "--model.decoding.beam_size", 2, "--model.decoding.num_hypotheses", 1,
            "--data", "Emoji", "--data.image_size", 16, "--data.max_words", 6, "--data.batch_size", 64,
            "--trainer.limit_val_batches", 1, "--name", "captioner")  # fmt: skip


# ---- metrics


def _bytes(metrics: Iterable[torch.nn.Module]) -> int:
    """Of all states; those that metrics share count once."""
    tensors = {}
    for metric in metrics:
        if isinstance(metric, Metric):
            for name in metric._defaults:
                state = getattr(metric, name)
                for tensor in state if isinstance(state, list) else [state]:
                    tensors[tensor.data_ptr()] = tensor.nbytes
    return sum(tensors.values())


def _classified(count: int) -> int:
    scores, generator = SplitScores(1000), torch.Generator().manual_seed(0)
    for _ in range(count // 1000):
        logits, labels = torch.randn(1000, 1000, generator=generator), torch.randint(1000, (1000,), generator=generator)
        scores.update(torch.tensor(1.0), 1000, logits, labels, None)
        scores.update(torch.tensor(1.0), 1000, logits, labels, torch.tensor(1.0))
    return _bytes(scores.modules())


def _captioned(count: int) -> int:
    scores, random = CaptionScores(), np.random.default_rng(0)

    def caption() -> str:
        return " ".join(random.choice(_WORDS, 12))

    for first in range(0, count, 100):
        ids = range(first, first + 100)
        scores.update([caption() for _ in ids], [[caption() for _ in range(5)] for _ in ids], ids)
    return _bytes(scores.modules())
