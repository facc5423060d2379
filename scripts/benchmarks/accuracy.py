"""What recipes and methods reach, and in what time, on data that is made or embedded."""

from __future__ import annotations

import hashlib
import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import scene_characters
import torch
from benchmarks.timing import Row
from torch import nn
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder

from project.cli import main as project_main
from project.models.simple_cnn import simple_cnn

CONFIGS = Path(__file__).resolve().parents[2] / "configs" / "classifier"
SMALL = {"train": 80, "val": 10, "test": 50}
"""Images of each of the 36 classes in a small folder."""


def measure_recipe() -> list[Row]:
    """Time to accuracy on 25,200 colour images of 36 classes: the plain script and `imagefolder.yaml`."""
    folder = characters("scene-characters", None)
    start = time.perf_counter()
    accuracy = _plain_script(folder, epochs=10)
    rows = [{"recipe": "the plain script", "test accuracy": accuracy, "seconds": round(time.perf_counter() - start)}]
    accuracy, duration = _recipe(folder, "imagefolder.yaml")
    return [*rows, {"recipe": "imagefolder.yaml", "test accuracy": accuracy, "seconds": round(duration)}]


def measure_small_folder() -> list[Row]:
    """2,880 training images of 36 classes, 1,800 for testing: the plain script, and the presets for folders."""
    folder = characters("scene-characters-small", SMALL)
    rows = []
    for label, epochs in (("the plain script, 10 epochs", 10), ("the plain script, 30 epochs", 30)):
        start = time.perf_counter()
        accuracy = _plain_script(folder, epochs)
        rows.append({"recipe": label, "test accuracy": accuracy, "seconds": round(time.perf_counter() - start)})
    for name in ("imagefolder.yaml", "imagefolder_strong.yaml"):
        accuracy, duration = _recipe(folder, name)
        rows.append({"recipe": name, "test accuracy": accuracy, "seconds": round(duration)})
    return rows


METHODS: dict[str, list[str]] = {
    "average of the weights (0.99)": ["--ema.decay", "0.99"],
    "TrivialAugment": ["--data.augment.policy", "trivial"],
    "random erasing (0.5)": ["--data.augment.erase", "0.5"],
    "MixUp (0.2)": ["--data.augment.mixup", "0.2"],
    "sharpness-aware (0.05)": ["--model.sam", "0.05"],
}
_VIEWS = ("flip", "flip_shift")
_SEEDS = range(5)
_SHORT = ("--budget.images", "100000")  # 35 epochs, so that thirty runs take half an hour


def measure_methods() -> list[Row]:
    """Each method alone, on 2,880 images of 36 classes for 35 epochs; five seeds, accuracy ± deviation, gain ± standard error."""
    folder = characters("scene-characters-small", SMALL)
    plain: list[tuple[float, float]] = []
    views: dict[str, list[tuple[float, float]]] = {name: [] for name in _VIEWS}
    for seed in _SEEDS:
        with _run(folder, "imagefolder.yaml", "--seed", str(seed), *_SHORT) as (common, duration):
            plain.append((_test(common), duration))
            for name in _VIEWS:
                views[name].append((_test(common, "--model.tta", name), duration))
    rows = [_compared("imagefolder.yaml", plain, plain)]
    rows += [_compared(f"test-time {name}", plain, found) for name, found in views.items()]
    for label, options in METHODS.items():
        found = [_recipe(folder, "imagefolder.yaml", "--seed", str(seed), *_SHORT, *options) for seed in _SEEDS]
        rows.append(_compared(label, plain, found))
        print(rows[-1], flush=True)
    return rows


def _compared(label: str, plain: list[tuple[float, float]], found: list[tuple[float, float]]) -> Row:
    """Of accuracies and seconds by seed: mean, deviation, and the mean gain with its standard error, in points."""
    accuracies, durations = zip(*found, strict=True)
    gains = [100 * (ours - theirs) for (ours, _), (theirs, _) in zip(found, plain, strict=True)]
    error = statistics.stdev(gains) / len(gains) ** 0.5
    return {
        "method": label,
        "test accuracy %": f"{100 * statistics.mean(accuracies):.2f} ± {100 * statistics.stdev(accuracies):.2f}",
        "gain": f"{statistics.mean(gains):+.2f} ± {error:.2f}" if any(gains) else "",
        "training seconds": round(statistics.mean(durations)),
    }


def characters(name: str, per_class: dict[str, int] | None) -> Path:
    """The scene characters, made once by each version of their script, below the folder for temporary files."""
    version = hashlib.sha256(Path(scene_characters.__file__).read_bytes()).hexdigest()[:8]
    folder = Path(tempfile.gettempdir(), f"{name}-{version}")
    if not folder.exists():
        with tempfile.TemporaryDirectory(dir=folder.parent) as place:
            scene_characters.make_scene_characters(Path(place, "whole"), per_class=per_class)
            Path(place, "whole").rename(folder)
    return folder


def _recipe(folder: Path, config: str, *options: str) -> tuple[float, float]:
    """Test accuracy of a fit, and its seconds."""
    with _run(folder, config, *options) as (common, duration):
        return _test(common), duration


@contextmanager
def _run(folder: Path, config: str, *options: str) -> Iterator[tuple[list[str], float]]:
    """Trains; gives the arguments that find the run, while it lasts, and its seconds."""
    torch.set_num_threads(2)
    with tempfile.TemporaryDirectory() as root:
        common = ["--config", str(CONFIGS / config), "--data.root", str(folder), "--data.cache_dir", root]
        common += ["--trainer.default_root_dir", root, "--progress", "none", *options]
        start = time.perf_counter()
        project_main(["fit", *common])
        yield common, time.perf_counter() - start


def _test(common: list[str], *options: str) -> float:
    project_main(["test", *common, "--ckpt_path", "best", *options])
    root = Path(common[common.index("--trainer.default_root_dir") + 1])
    return round(json.loads(next(root.rglob("test_metrics.json")).read_text("utf-8"))["test/accuracy"], 4)


def _plain_script(folder: Path, epochs: int) -> float:
    """Test accuracy of the usual script."""
    torch.set_num_threads(2)
    *_, network = plain_epochs(folder, epochs)
    return round(accuracy_of(network, folder / "test"), 4)


def plain_epochs(folder: Path, epochs: int, image_size: int = 32, seed: int = 0) -> Iterator[nn.Module]:
    """The usual script: images from files through PIL, SGD 0.01 with momentum 0.9, no augmentation; after each epoch."""
    torch.manual_seed(seed)
    images = _plain_images(folder / "train")
    network = simple_cnn(len(images.classes), image_size)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9)
    for _ in range(epochs):
        network.train()
        for batch, labels in DataLoader(images, 64, shuffle=True):
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(batch), labels).backward()
            optimizer.step()
        yield network


@torch.inference_mode()
def accuracy_of(network: nn.Module, folder: Path) -> float:
    """Of the usual script's network on a folder of classes."""
    network.eval()
    loader = DataLoader(_plain_images(folder), 256)
    return float(torch.cat([network(images).argmax(1) == labels for images, labels in loader]).float().mean())


def _plain_images(folder: Path) -> ImageFolder:
    return ImageFolder(
        folder, transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.5,) * 3, (0.5,) * 3)])
    )
