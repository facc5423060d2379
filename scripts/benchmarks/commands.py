"""What whole commands take: to start, an epoch, memory, two processes, predictions and pages."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from benchmarks.timing import Row, best_of, seconds
from lightning.pytorch import Callback
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader
from torchvision import transforms

from project.cli import main as project_main
from project.models import build_backbone
from project.models.normalize import IMAGENET_MEAN, IMAGENET_STD

ROOT = Path(__file__).resolve().parents[2]
_CLASSES, _SIZE = 10, 32


class Clock(Callback):
    """Writes into the file that `BENCHMARK_CLOCK` names when the first step ended, and how long each epoch took."""

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        self._start = time.perf_counter()

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if trainer.is_global_zero:
            if trainer.global_step == 1:
                _note({"first_step": time.time()})
            if batch_idx + 1 == trainer.num_training_batches:
                _note({"epoch": time.perf_counter() - self._start})


def _note(what: dict[str, float]) -> None:
    with open(os.environ["BENCHMARK_CLOCK"], "a", encoding="utf-8") as file:
        file.write(json.dumps(what) + "\n")


_CLOCK = ("--trainer.callbacks", json.dumps([{"class_path": f"{__name__}.Clock"}]))
_QUIET = ("--progress", "none", "--trainer.enable_model_summary", "false", "--trainer.accelerator", "cpu")

_PLAIN_START = """
import os, time
import torch, lightning.pytorch as pl
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from sklearn.datasets import load_digits
class Model(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.network = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    def training_step(self, batch, index):
        return nn.functional.cross_entropy(self.network(batch[0]), batch[1])
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)
images, labels = load_digits(return_X_y=True)
data = TensorDataset(torch.tensor(images, dtype=torch.float32), torch.tensor(labels))
pl.Trainer(max_steps=1, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
           enable_model_summary=False).fit(Model(), DataLoader(data, 64))
"""


def measure_start() -> list[Row]:
    """Seconds until a command says something, or has trained its first step, against importing Lightning."""
    module, digits = [sys.executable, "-m", "project"], ROOT / "configs" / "classifier" / "digits.yaml"
    with tempfile.TemporaryDirectory() as folder:
        step = [
            *module,
            "fit",
            "--config",
            str(digits),
            "--trainer.default_root_dir",
            folder,
            "--trainer.max_steps",
            "1",
            *_CLOCK,
            *_QUIET,
        ]
        commands = {
            "python -c 'import lightning'": [sys.executable, "-c", "import lightning"],
            "python -m project --version": [*module, "--version"],
            "python -m project --help": [*module, "--help"],
            "python -m project fit --help": [*module, "fit", "--help"],
            "the least that trains one step with Lightning": [sys.executable, "-c", _PLAIN_START],
            "python -m project fit, to the first step": step,
        }
        times = best_of(5, {name: partial(_until, command, Path(folder)) for name, command in commands.items()})
    baseline = times["python -c 'import lightning'"]
    return [{"command": k, "seconds": round(t, 2), "times Lightning": round(t / baseline, 2)} for k, t in times.items()]


def _until(command: list[str], folder: Path) -> float:
    """Seconds to the end of a command, or to the end of its first step if it has a clock."""
    clock = folder / "clock.jsonl"
    clock.unlink(missing_ok=True)
    start = time.time()
    subprocess.run(command, capture_output=True, check=True, cwd=ROOT, env=_environment(clock))
    return (_read(clock, "first_step")[0] if clock.exists() else time.time()) - start


def _environment(clock: Path) -> dict[str, str]:
    paths = os.pathsep.join([str(ROOT), str(ROOT / "scripts")])
    return os.environ | {"PYTHONPATH": paths, "BENCHMARK_CLOCK": str(clock)}


def _read(clock: Path, name: str) -> list[float]:
    return [note[name] for note in map(json.loads, clock.read_text("utf-8").splitlines()) if name in note]


# ---- an epoch


def measure_epoch() -> list[Row]:
    """An epoch of images of 32 × 32 with crop and flip: `fit`, and in 32 bits the usual script with two loader workers."""
    torch.set_num_threads(2)
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = _folder(Path(name, "images"), 8192)
        for network in ("simple_cnn", "small_resnet", "resnet18"):
            few = 1024 if network == "resnet18" else None
            times = best_of(
                3,
                {
                    "DataLoader of PIL images, plain loop": partial(_usual_epoch, folder, network, few),
                    "the same batch again and again, plain loop": partial(_synthetic_epoch, network, few),
                    "fit, 32-true": partial(_fit_epoch, folder, network, few, "32-true"),
                    "fit, bf16-mixed": partial(_fit_epoch, folder, network, few, "bf16-mixed"),
                },
            )
            usual, count = times["DataLoader of PIL images, plain loop"], few or 8192
            rows += [{"network": network, "images": count, "way": k, "images/s": round(count / t), "times as fast": round(usual / t, 2)}
                     for k, t in times.items()]  # fmt: skip
    return rows


_BATCH = 128


def _folder(folder: Path, count: int) -> Path:
    random = np.random.default_rng(0)
    for label in range(_CLASSES):
        for split in ("train", "val", "test"):
            (folder / split / str(label)).mkdir(parents=True)
    for number in range(count + 2 * _BATCH):
        split = "train" if number < count else "val" if number < count + _BATCH else "test"
        image = Image.fromarray(random.integers(0, 256, (_SIZE, _SIZE, 3), np.uint8))
        image.save(folder / split / str(number % _CLASSES) / f"{number:06}.png", compress_level=1)
    return folder


def _usual_epoch(folder: Path, network: str, count: int | None) -> float:
    """Seconds of the second epoch, whose workers are up."""
    from torch.utils.data import Subset
    from torchvision.datasets import ImageFolder

    transform = transforms.Compose([
        transforms.RandomCrop(_SIZE, 4, padding_mode="reflect"), transforms.RandomHorizontalFlip(),
        transforms.ToTensor(), transforms.Normalize(IMAGENET_MEAN, IMAGENET_STD),
    ])  # fmt: skip
    data = ImageFolder(folder / "train", transform)
    some = Subset(data, range(count)) if count else data
    loader = DataLoader(some, _BATCH, shuffle=True, num_workers=2, persistent_workers=True, drop_last=True)
    return _train(network, lambda: iter(loader))


def _synthetic_epoch(network: str, count: int | None) -> float:
    batch = torch.randn(_BATCH, 3, _SIZE, _SIZE), torch.randint(_CLASSES, (_BATCH,))
    return _train(network, lambda: iter([batch] * ((count or 8192) // _BATCH)))


def _train(network: str, batches: Any) -> float:
    torch.manual_seed(0)
    model = build_backbone(network, _CLASSES, _SIZE)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)

    def epoch() -> None:
        for images, labels in batches():
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(images), labels).backward()
            optimizer.step()

    epoch()
    return seconds(epoch)


def _fit_epoch(folder: Path, network: str, count: int | None, precision: str) -> float:
    """Seconds of the second epoch's training."""
    with tempfile.TemporaryDirectory() as root:
        clock = Path(root, "clock.jsonl")
        os.environ["BENCHMARK_CLOCK"] = str(clock)
        options = ["--model", "Classifier", "--model.backbone", network, "--data", "ImageFolder", "--data.root", folder,
                   "--data.image_size", _SIZE, "--data.batch_size", _BATCH, "--data.augment.crop", 4, "--data.augment.flip",
                   "true", "--data.cache_dir", folder.parent / "cache", "--trainer.max_epochs", 2,
                   "--trainer.default_root_dir", root, *_QUIET, *_CLOCK]  # fmt: skip
        options += ["--trainer.limit_train_batches", count // _BATCH] if count else []
        options += ["--trainer.precision", precision]
        with contextlib.redirect_stdout(io.StringIO()):
            project_main(["fit", *map(str, options)])
        return _read(clock, "epoch")[-1]


# ---- two processes


def measure_processes() -> list[Row]:
    """Images/s of `fit` with one process and with two (gloo), one thread each; ResNet-18 on 32 × 32, 128 at a time each."""
    with tempfile.TemporaryDirectory() as name:
        folder = _folder(Path(name, "images"), 2048)
        times = best_of(2, {str(count): partial(_epoch_of, folder, count) for count in (1, 2)})
    return [{"processes": count, "images/s": round(2048 / t), "times as fast": round(times["1"] / t, 2)}
            for count, t in times.items()]  # fmt: skip


def _epoch_of(folder: Path, processes: int) -> float:
    with tempfile.TemporaryDirectory() as root:
        clock = Path(root, "clock.jsonl")
        overlay = ("--config", ROOT / "configs" / "trainer" / "ddp.yaml") if processes > 1 else ()
        options = [*overlay, "--model", "Classifier", "--model.backbone", "resnet18", "--data", "ImageFolder",
                   "--data.root", folder, "--data.image_size", _SIZE, "--data.batch_size", _BATCH, "--trainer.max_epochs", 2,
                   "--data.cache_dir", folder.parent / "cache", "--trainer.devices", processes,
                   "--trainer.default_root_dir", root, *_QUIET, *_CLOCK]  # fmt: skip
        command = [sys.executable, "-m", "project", "fit", *map(str, options)]
        environment = _environment(clock) | {"OMP_NUM_THREADS": "1"}
        subprocess.run(command, capture_output=True, check=True, cwd=ROOT, env=environment)
        return _read(clock, "epoch")[-1]


# ---- memory


_FIT_MEMORY = "import sys; from project.cli import main; main(sys.argv[1:])"
_PLAIN_MEMORY = """
import sys
sys.path.insert(0, "scripts")
from pathlib import Path
from benchmarks.commands import _usual_epoch
_usual_epoch(Path(sys.argv[1]), "small_resnet", None)
"""


def measure_memory() -> list[Row]:
    """Peak memory, MiB, of training the small network on 8,192 images of 32 × 32: all processes of each way together."""
    with tempfile.TemporaryDirectory() as name:
        folder = _folder(Path(name, "images"), 8192)
        fit = ["fit", "--model", "Classifier", "--data", "ImageFolder", "--data.root", folder, "--data.image_size", _SIZE,
               "--data.batch_size", _BATCH, "--data.cache_dir", Path(name, "cache"), "--trainer.max_epochs", 2,
               "--trainer.default_root_dir", Path(name, "runs"), *_QUIET]  # fmt: skip
        ways: dict[str, list[object]] = {
            "import lightning": ["import lightning.pytorch"],
            "DataLoader of PIL images with two workers, plain loop": [_PLAIN_MEMORY, folder],
            **{
                f"fit, images in memory, {p}": [_FIT_MEMORY, *fit, "--trainer.precision", p]
                for p in ("32-true", "bf16-mixed")
            },
        }
        return [
            {"way": way, "MiB": round(_peak([sys.executable, "-c", *map(str, rest)]))} for way, rest in ways.items()
        ]


def _peak(command: list[str]) -> float:
    """Largest sum of what a command's processes hold for themselves (their proportional share), MiB."""
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, env=_environment(Path(os.devnull)))
    peak = 0.0
    while process.poll() is None:
        peak = max(peak, sum(map(_share, _family(process.pid))))
        time.sleep(0.05)
    if process.returncode:
        raise RuntimeError(f"{command[:4]} ended with status {process.returncode}")
    return peak


def _family(pid: int) -> list[int]:
    try:
        children = [
            int(child)
            for task in Path(f"/proc/{pid}/task").iterdir()
            for child in (task / "children").read_text("utf-8").split()
        ]
    except OSError:  # it has ended
        return []
    return [pid, *(each for child in children for each in _family(child))]


def _share(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text("utf-8").splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("Pss:")), 0.0)


# ---- what a trained network is asked for


def measure_pages() -> list[Row]:
    """Prediction with its gallery, and the report, of a digits classifier: seconds of the command once libraries are loaded."""
    torch.set_num_threads(2)
    with tempfile.TemporaryDirectory() as name:
        common = ("--trainer.default_root_dir", f"{name}/runs", "--progress", "none")
        config = ROOT / "configs" / "classifier" / "digits.yaml"
        images = _folder(Path(name, "images"), 4096) / "train"
        with contextlib.redirect_stdout(io.StringIO()):
            project_main(["fit", "--config", str(config), *common])
            run = next(Path(name, "runs").rglob("version_0"))
            predict = ["predict", "--ckpt_path", str(run), "--data.predict", str(images), "--progress", "none"]
            predicting = best_of(3, {"predict": lambda: seconds(lambda: project_main(predict))})["predict"]
            reporting = seconds(lambda: _report(run))
        size = (next(Path(name).rglob("index.html"))).stat().st_size
    return [
        {"what": "predict: 4,096 files, their predictions and the gallery", "seconds": round(predicting, 1),
         "images/s": round(4096 / predicting), "page": f"{size / 2**20:.1f} MiB"},
        {"what": "report.py: all sections, 359 test images", "seconds": round(reporting, 1), "images/s": "",
         "page": ""},
    ]  # fmt: skip


def _report(run: Path) -> None:
    from report import main as report_main

    report_main(["--ckpt_path", str(run), "--output", str(run / "report")])
