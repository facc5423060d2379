"""Measures what this codebase claims about speed, as ratios side by side in one run.

    python scripts/benchmark.py [input] [trainer] [recipe]

Each part measures its candidates in turn, several rounds over, so that another program on the machine slows all of
them alike, and takes each one's best round. Results go to `docs/benchmarks.json` and `docs/benchmarks.md`, with the
machine and the libraries' versions; parts that were not run keep their earlier results.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # so that `python scripts/benchmark.py` finds the project without installing it

import numpy as np
import torch
from lightning.pytorch import Callback
from PIL import Image
from torch import nn
from torchvision import transforms
from torchvision.transforms import v2

from project.cli import main as project_main
from project.data import Digits
from project.data.augment import Augmentation
from project.data.loaders import ResidentLoader
from project.data.order import EvaluationOrder, TrainingOrder
from project.data.store import Store
from project.models.normalize import IMAGENET_MEAN, IMAGENET_STD, Normalize
from project.runs.provenance import collect_provenance
from project.tasks import Classifier

Row = dict[str, Any]


def best_of(rounds: int, candidates: dict[str, Callable[[], float]]) -> dict[str, float]:
    """The smallest result of each candidate over interleaved rounds."""
    results: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(rounds):
        for name, measure in candidates.items():
            results[name].append(measure())
    return {name: min(values) for name, values in results.items()}


def seconds(function: Callable[[], Any]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


# ---- input


def measure_input() -> list[Row]:
    """Crop, flip and normalise at 32 × 32, images/s on one core, against per-sample transforms."""
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (16384, 32, 32, 3), dtype=torch.uint8, generator=generator)
    few = 2048
    pil_images = [Image.fromarray(image.numpy()) for image in pixels[:few]]
    tensors = [image.permute(2, 0, 1).contiguous() for image in pixels[:few]]
    pil = transforms.Compose(
        [
            transforms.RandomCrop(32, 4, padding_mode="reflect"),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(IMAGENET_MEAN, IMAGENET_STD),
        ]
    )
    per_sample_v2 = v2.Compose(
        [
            v2.RandomCrop(32, 4, padding_mode="reflect"),
            v2.RandomHorizontalFlip(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(IMAGENET_MEAN, IMAGENET_STD),
        ]
    )
    store = Store(pixels, torch.zeros(len(pixels), dtype=torch.int64), [])
    normalize = Normalize(list(IMAGENET_MEAN), list(IMAGENET_STD))
    cpu = torch.device("cpu")
    batched = ResidentLoader(store, TrainingOrder(len(pixels), 512, 0), cpu, 0, Augmentation(crop=4, flip=True))
    gathered = ResidentLoader(store, EvaluationOrder(len(pixels), 512), cpu, 0)

    def consume(loader: ResidentLoader) -> None:
        for batch in loader:
            normalize(batch.images)

    times = best_of(
        5,
        {
            "PIL, per sample": lambda: seconds(lambda: torch.stack([pil(x) for x in pil_images])) / few,
            "torchvision v2, per sample": lambda: (
                seconds(lambda: torch.stack([per_sample_v2(x) for x in tensors])) / few
            ),
            "batched, parameters per sample": lambda: seconds(lambda: consume(batched)) / len(pixels),
            "gather and normalise alone": lambda: seconds(lambda: consume(gathered)) / len(pixels),
        },
    )
    baseline = times["PIL, per sample"]
    return [{"pipeline": k, "images/s": round(1 / t), "times PIL": round(baseline / t, 1)} for k, t in times.items()]


# ---- trainer


class StepTimer(Callback):
    """Times from the end of one training batch to the end of the next, within an epoch."""

    steps: ClassVar[list[float]] = []

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        self._last: float | None = None

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        now = time.perf_counter()
        if self._last is not None:
            StepTimer.steps.append(now - self._last)
        self._last = now


def measure_trainer() -> list[Row]:
    """`python -m project fit` against a plain loop: the same network, data, batches, optimizer and schedule."""
    torch.set_num_threads(2)
    rows = []
    for label, image_size, batch_size, width, epochs in (
        ("steps of tens of milliseconds", 32, 64, 32, 3),
        ("tiny steps, all overhead", 8, 8, 4, 3),
    ):
        times = best_of(
            5,
            {
                "plain": lambda s=image_size, b=batch_size, w=width, e=epochs: _plain_loop(s, b, w, e),
                "fit": lambda s=image_size, b=batch_size, w=width, e=epochs: _fit(s, b, w, e),
            },
        )
        rows.append(
            {
                "case": label,
                "plain ms/step": round(1e3 * times["plain"], 3),
                "fit ms/step": round(1e3 * times["fit"], 3),
                "ratio": round(times["fit"] / times["plain"], 3),
                "added ms/step": round(1e3 * (times["fit"] - times["plain"]), 3),
            }
        )
    return rows


_MODEL = {"backbone": "small_resnet", "label_smoothing": 0.1}


def _plain_loop(image_size: int, batch_size: int, width: int, epochs: int) -> float:
    """The median time of a step, in seconds."""
    torch.manual_seed(0)
    data = Digits(image_size=image_size, batch_size=batch_size, augment=Augmentation(shift=1))
    task = Classifier(data.class_names, image_size, backbone_options={"width": width}, **_MODEL)
    store = data._store("train")
    order = TrainingOrder(len(store.labels), batch_size, 0)
    loader = ResidentLoader(store, order, torch.device("cpu"), 0, data.augment)
    optimizer = task.make_optimizer(task.parameters())
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer)
    task.train()
    steps = []
    for epoch in range(epochs):
        order.set_epoch(epoch)
        last = None
        for batch in loader:
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(task(batch.images), batch.labels, label_smoothing=0.1)
            loss.backward()
            optimizer.step()
            schedule.step()
            now = time.perf_counter()
            if last is not None:
                steps.append(now - last)
            last = now
    return statistics.median(steps)


def _fit(image_size: int, batch_size: int, width: int, epochs: int) -> float:
    StepTimer.steps.clear()
    with tempfile.TemporaryDirectory() as root:
        options = {
            "model": "Classifier",
            "model.label_smoothing": 0.1,
            "model.backbone_options": json.dumps({"width": width}),
            "data": "Digits",
            "data.image_size": image_size,
            "data.batch_size": batch_size,
            "data.augment.shift": 1,
            "trainer.max_epochs": epochs,
            "trainer.precision": "32-true",
            "trainer.accelerator": "cpu",
            "trainer.default_root_dir": root,
            "trainer.enable_model_summary": "false",
            "trainer.callbacks": json.dumps([{"class_path": "__main__.StepTimer"}]),
            "progress": "none",
        }
        project_main(["fit", *(text for name, value in options.items() for text in (f"--{name}", str(value)))])
    return statistics.median(StepTimer.steps)


# ---- recipe


def measure_recipe() -> list[Row]:
    """Time to accuracy on 25,200 colour images of 36 classes: the article's script and `imagefolder.yaml`."""
    from scene_characters import make_scene_characters

    torch.set_num_threads(2)
    folder = Path(tempfile.gettempdir(), "scene-characters")
    if not (folder / "test").exists():
        make_scene_characters(folder)
    start = time.perf_counter()
    accuracy = _article_script(folder)
    article = time.perf_counter() - start
    rows = [{"recipe": "the article's script", "test accuracy": accuracy, "seconds": round(article)}]
    with tempfile.TemporaryDirectory() as root:
        start = time.perf_counter()
        config = str(ROOT / "configs" / "classifier" / "imagefolder.yaml")
        common = ["--config", config, "--data.root", str(folder), "--trainer.default_root_dir", root]
        project_main(["fit", *common, "--data.cache_dir", root])
        ours = time.perf_counter() - start
        project_main(["test", *common, "--data.cache_dir", root, "--ckpt_path", "best"])
        metrics = json.loads(next(Path(root).rglob("test_metrics.json")).read_text())
    rows.append(
        {
            "recipe": "configs/classifier/imagefolder.yaml",
            "test accuracy": round(metrics["test/accuracy"], 4),
            "seconds": round(ours),
        }
    )
    return rows


def _article_script(folder: Path, epochs: int = 10) -> float:
    """The usual script: images from files through PIL, SGD 0.01 with momentum 0.9, ten epochs, no augmentation."""
    from torch.utils.data import DataLoader
    from torchvision.datasets import ImageFolder

    from project.models.simple_cnn import simple_cnn

    torch.manual_seed(0)
    transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.5,) * 3, (0.5,) * 3)])
    splits = {split: ImageFolder(folder / split, transform) for split in ("train", "test")}
    network = simple_cnn(len(splits["train"].classes), 32)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9)
    for _ in range(epochs):
        for images, labels in DataLoader(splits["train"], 64, shuffle=True):
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(images), labels).backward()
            optimizer.step()
    network.eval()
    with torch.inference_mode():
        right = [network(images).argmax(1).eq(labels) for images, labels in DataLoader(splits["test"], 256)]
    return round(float(np.mean(torch.cat(right).numpy())), 4)


# ---- report

PARTS: dict[str, Callable[[], list[Row]]] = {
    "input": measure_input,
    "trainer": measure_trainer,
    "recipe": measure_recipe,
}


def main() -> None:
    """Runs the parts that are named, or all, and writes the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"among {', '.join(PARTS)}; all by default")
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "benchmarks.json")
    arguments = parser.parse_args()
    for part in set(arguments.parts) - set(PARTS):
        parser.error(f"there is no part '{part}' among {', '.join(PARTS)}")
    results = json.loads(arguments.output.read_text()) if arguments.output.exists() else {}
    for part in arguments.parts or PARTS:
        rows = PARTS[part]()
        where = collect_provenance([], {})
        results[part] = {
            "what": PARTS[part].__doc__.splitlines()[0],
            "rows": rows,
            "where": {key: where[key] for key in ("time", "git", "python", "libraries", "hardware")},
        }
        print(_table(rows), flush=True)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(results, indent=2) + "\n")
    arguments.output.with_suffix(".md").write_text(_report(results))


def _table(rows: list[Row]) -> str:
    lines = [list(rows[0]), ["---"] * len(rows[0]), *([str(value) for value in row.values()] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _report(results: dict[str, Any]) -> str:
    text = "# Benchmarks\n\nWritten by `python scripts/benchmark.py`: ratios measured side by side in one run.\n"
    for part, result in results.items():
        where = result["where"]
        machine = f"{where['hardware']['cpu']}, {where['hardware']['cores']} cores"
        gpus = ", ".join(where["hardware"]["gpus"])
        libraries = ", ".join(f"{name} {version}" for name, version in where["libraries"].items())
        text += f"\n## {part}\n\n{result['what']}\n\n{_table(result['rows'])}\n\n"
        text += f"{machine}{', ' + gpus if gpus else ''}; {libraries}; {where['time'][:10]}.\n"
    return text


if __name__ == "__main__":
    main()
