"""Every configuration file says what it is, parses, and where it needs nothing from outside, runs."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml
from torchvision.models import ResNet18_Weights, resnet18

from project.cli import main
from project.data import CIFAR100, Digits, Emoji, FashionMNIST, ImageFolder
from project.data.downloads import DownloadedImages
from project.models.captioning import DecoderOptions
from project.tasks import Captioner, Classifier

CONFIGS = Path(__file__).parents[2] / "configs"
SPACES = sorted(CONFIGS.glob("sweeps/*.yaml"))  # which are no configurations; tests/scripts/test_sweep.py reads them
EVERY = sorted(set(CONFIGS.rglob("*.yaml")) - set(SPACES))
TASKS = [path for path in EVERY if path.parent.name != "trainer"]
OVERLAYS = [path for path in EVERY if path.parent.name == "trainer"]
LARGE = ("--data.image_size", 32, "--data.train_size", 32, "--data.batch_size", 4, "--data.num_workers", 0)
PRETRAINED = (*LARGE, "--model.backbone", "resnet18", "--model.weights", "IMAGENET1K_V1")
FASTER = {
    "imagenet_resnet50": LARGE,
    "finetune": LARGE,
    "imagenet_r34_r18": LARGE,
    "flickr8k": PRETRAINED,
    "flickr30k": PRETRAINED,
    "coco": PRETRAINED,
}
"""Smaller images and networks for what would take minutes on a processor."""
ON_ANY_MACHINE = {"cpu", "debug", "profile"}

name = lambda path: str(path.relative_to(CONFIGS))  # noqa: E731


def test_they_are_found():
    assert len(EVERY) > 5
    assert {"cpu", "gpu", "ddp", "fsdp", "debug", "profile", "mlflow", "wandb"} <= {path.stem for path in OVERLAYS}
    assert {"digits", "imagefolder", "article_cifar10", "cifar10", "cifar100", "cifar10_resnet18", "finetune"} <= {
        path.stem for path in TASKS
    }
    assert not list(CONFIGS.rglob("*.yml"))


def section(path: Path, name: str) -> dict:
    return yaml.safe_load(path.read_text())[name]


def data_options(path: Path, images: Path | str = "x", captioned: Path = Path("x")) -> tuple[object, ...]:
    """What a configuration leaves to its user."""
    kind = section(path, "data")["class_path"]
    if kind == "KarpathyCaptions":
        return "--data.annotations", captioned / "captions.json", "--data.images", captioned
    return ("--data.root", images) if kind == "ImageFolder" else ()


def printed(capsys, *arguments: object) -> dict:
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        main([*map(str, arguments), "--print_config"])
    assert not stop.value.code
    return yaml.safe_load(capsys.readouterr().out)


def flat(config: object, prefix: str = "") -> dict[str, object]:
    if not isinstance(config, dict):
        return {prefix: config}
    return {key: value for part, inside in config.items() for key, value in flat(inside, f"{prefix}.{part}").items()}


@pytest.mark.parametrize("path", EVERY, ids=name)
def test_it_parses_and_every_line_of_it_takes_effect(capsys, path):
    more = data_options(path) if path in TASKS else ()
    result = flat(printed(capsys, "fit", "--config", path, *more))
    for key, value in flat(yaml.safe_load(path.read_text())).items():
        if key.endswith("class_path"):
            assert result[key].rpartition(".")[2] == value.rpartition(".")[2]
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            assert len(result[key]) == len(value)
            for found, item in zip(result[key], value, strict=True):
                assert item.items() <= found.items()
        else:
            assert result[key] == value, key


@pytest.mark.parametrize("path", EVERY, ids=name)
def test_it_opens_with_what_it_is_and_a_task_with_its_command(path):
    header = []
    for line in path.read_text().splitlines():
        if not line.startswith("#"):
            break
        header.append(line)
    assert header
    if path in TASKS:
        assert f"python -m project fit --config {path.relative_to(CONFIGS.parent)}" in "\n".join(header)


@pytest.fixture
def _downloads(tmp_path, monkeypatch):
    """What torchvision would download lies there: tiny data sets in memory, and weights that know nothing."""
    random = np.random.default_rng(0)

    def parts(data: DownloadedImages) -> dict:
        size, channels, classes = (28, (), 10) if isinstance(data, FashionMNIST) else (32, (3,), 100)
        pixels = random.integers(0, 256, (400, size, size, *channels), np.uint8)
        part = SimpleNamespace(data=pixels, targets=np.arange(400) % classes, classes=[str(k) for k in range(classes)])
        return {"train": part, "test": part}

    monkeypatch.setattr(DownloadedImages, "_parts", property(parts))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    weights = tmp_path / "torch" / "hub" / "checkpoints" / Path(ResNet18_Weights.IMAGENET1K_V1.url).name
    weights.parent.mkdir(parents=True)
    torch.save(resnet18().state_dict(), weights)


def untrained_teacher(path: Path, images: Path, folder: Path) -> Path:
    """A checkpoint of a small network with the classes or words of a configuration's data."""
    data_class, options = section(path, "data")["class_path"], {"root": images}
    if data_class == "Emoji":
        data = Emoji(image_size=32)
        task = Captioner(data.vocabulary, data.max_words, 32, decoder=DecoderOptions(hidden_size=8, embedding_size=8))
    else:
        data = {"ImageFolder": ImageFolder, "Digits": Digits, "CIFAR100": CIFAR100}[data_class]
        task = Classifier(data(**({} if data_class == "Digits" else options)).class_names, 32, "simple_cnn")
    checkpoint = {"task": type(task).__name__, "hyper_parameters": dict(task.hparams), "state_dict": task.state_dict()}
    torch.save(checkpoint, folder / "teacher.ckpt")
    return folder / "teacher.ckpt"


@pytest.mark.usefixtures("_downloads")
@pytest.mark.parametrize(
    "path",
    # two trainings of one set: its captioner is the other
    [pytest.param(path, marks=pytest.mark.slow if path.stem == "emoji_captioner" else ()) for path in TASKS],
    ids=name,
)
def test_a_task_runs_a_batch(run, images, captioned, path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    more = (*data_options(path, images, captioned), "--data.batch_size", 8, *FASTER.get(path.stem, ()))
    if "teacher" in section(path, "model")["init_args"]:
        more += ("--model.teacher", untrained_teacher(path, images, tmp_path))
    assert run("fit", "--config", path, *more, "--trainer.fast_dev_run", "true", "--trainer.accelerator", "cpu") == 0


def test_every_data_set_that_is_downloaded_has_a_configuration():
    used = {yaml.safe_load(path.read_text())["data"]["class_path"] for path in TASKS}
    assert {cls.__name__ for cls in DownloadedImages.__subclasses__()} <= used


@pytest.mark.parametrize("path", [path for path in OVERLAYS if path.stem in ON_ANY_MACHINE], ids=name)
def test_an_overlay_goes_with_a_task(run, images, fit_options, path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(*fit_options(images, tmp_path / "runs", "--config", path, "--trainer.accelerator", "cpu")) == 0
    assert (tmp_path / "runs" / "r" / "version_0" / "checkpoints" / "last.ckpt").is_file()
