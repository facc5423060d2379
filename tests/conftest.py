"""What all tests share: the real command line in this process, and no writing outside the test's own folder."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import settings
from PIL import Image

from project.cli import main

# the same examples at every run; `make fuzz` looks for others, with --hypothesis-profile many
settings.register_profile("few", max_examples=25, derandomize=True, deadline=None, database=None)
settings.register_profile("many", max_examples=2000, deadline=None, database=None, print_blob=True)
settings.load_profile("few")

if sys.platform == "linux":  # two processes talk over the loopback, whatever the machine's own name leads to
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"


@pytest.fixture(autouse=True, scope="session")
def _no_program():
    """Scripts run in this process; what a program does with its streams and signals would outlive the test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("project.cli.start_program", lambda: None)
        yield


@pytest.fixture(autouse=True)
def _isolated(tmp_path, monkeypatch):
    """Caches go to the test's folder, and signals are as they were."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    torch.set_num_threads(1)  # a second thread gains nothing on images this small, and much waiting on a busy machine
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture
def run(tmp_path):
    """Runs a command of `python -m project` with its runs below the test's folder; returns the exit status."""

    def run_command(*args: object) -> int:
        try:
            main([*map(str, args), "--progress", "none"])
        except SystemExit as stop:
            return stop.code or 0
        return 0

    return run_command


@pytest.fixture
def fails(run, capsys):
    """Runs a command that must end with status 2 and one line; returns the line."""

    def run_and_read(*args: object) -> str:
        capsys.readouterr()
        assert run(*args) == 2
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err + captured.out
        lines = [line for line in captured.err.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1
        return lines[0]

    return run_and_read


# ---- small real things to try it on


def _image_tree(folder: Path, count: int = 20, size: int = 12, classes: tuple[str, ...] = ("a", "b", "c")) -> Path:
    random = np.random.default_rng(0)
    for label, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for i in range(count):
            noise = random.integers(0, 60, (size, size, 3)) + 190 * label // max(len(classes) - 1, 1)
            Image.fromarray(noise.astype(np.uint8)).save(folder / name / f"{i:02}.png")
    return folder


def _fit_options(images: Path, root: Path, *more: object) -> list[str]:
    options = [
        "fit", "--model", "Classifier", "--model.backbone_options", '{"width": 4}',
        "--data", "ImageFolder", "--data.root", images, "--data.image_size", 12, "--data.batch_size", 16,
        "--data.num_workers", 1, "--trainer.max_epochs", 2, "--trainer.accelerator", "cpu", "--trainer.devices", 1,
        "--trainer.precision", "32-true", "--watch.pictures", 0,
        "--trainer.default_root_dir", root, "--name", "r", *more,
    ]  # fmt: skip
    return [str(option) for option in options]


def _captioned(folder: Path, size: int = 16) -> Path:
    """Squares, discs and crosses of four colours: two of each to train on, one each for validation and test."""
    folder.mkdir(parents=True)
    random, images = np.random.default_rng(0), []
    y, x = np.mgrid[:size, :size]
    for name, colour in {
        "red": (220, 30, 30),
        "green": (30, 200, 40),
        "blue": (40, 60, 220),
        "white": (240,) * 3,
    }.items():
        for shape in ("square", "disc", "cross"):
            for number, split in enumerate(("train", "train", "val", "test")):
                left, top = x - random.integers(6, size - 6), y - random.integers(6, size - 6)
                inside = {
                    "square": np.maximum(abs(left), abs(top)) <= 3,
                    "disc": left**2 + top**2 <= 12,
                    "cross": np.minimum(abs(left), abs(top)) <= 1,
                }[shape]
                pixels = np.where(inside[..., None], colour, random.integers(0, 40, (size, size, 3)))
                file = f"{name}_{shape}_{number}.png"
                Image.fromarray(pixels.astype(np.uint8)).save(folder / file)
                said = [f"A {name} {shape}.", f"There is a {shape}, and it is {name}."][: 1 + number % 2]
                images.append({"filename": file, "split": split, "sentences": [{"raw": text} for text in said]})
    (folder / "captions.json").write_text(json.dumps({"images": images}))
    return folder


def _caption_options(folder: Path, root: Path, *more: object) -> list[str]:
    options = [
        "fit", "--model", "Captioner", "--model.backbone_options", '{"width": 4}', "--model.decoder.embedding_size", 12,
        "--model.decoder.hidden_size", 16, "--model.decoding.beam_size", 3, "--model.decoding.num_hypotheses", 3,
        "--data", "KarpathyCaptions", "--data.annotations", folder / "captions.json", "--data.images", folder,
        "--data.image_size", 16, "--data.max_words", 8, "--data.batch_size", 8, "--trainer.max_epochs", 2, "--trainer.accelerator", "cpu",
        "--trainer.devices", 1, "--trainer.precision", "32-true", "--watch.pictures", 0,
        "--trainer.default_root_dir", root, "--name", "c", *more,
    ]  # fmt: skip
    return [str(option) for option in options]


@pytest.fixture(scope="session")
def captioned(tmp_path_factory) -> Path:
    """48 drawings and `captions.json`, half of them for training; not to be written to."""
    return _captioned(tmp_path_factory.mktemp("captioned") / "drawings")


@pytest.fixture(scope="session")
def caption_options() -> Callable[..., list[str]]:
    """The arguments of a fit of a small captioner: (the folder of `captioned`, root, *more). Its run is `c`."""
    return _caption_options


@pytest.fixture(scope="session")
def image_tree() -> Callable[..., Path]:
    """Makes `folder/CLASS/NN.png`, noise that is brighter from class to class: (folder, count, size, classes)."""
    return _image_tree


@pytest.fixture(scope="session")
def fit_options() -> Callable[..., list[str]]:
    """The arguments of a fit of half a second on an image folder: (images, root, *more). Its run is `r`."""
    return _fit_options


@pytest.fixture
def images(tmp_path) -> Path:
    """Three classes of 20 noisy images: 16 a class to train on, 2 each for validation and test."""
    return _image_tree(tmp_path / "images")


@pytest.fixture(scope="session")
def _trained_once(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    images = _image_tree(folder / "images")
    main([*_fit_options(images, folder / "runs", "--data.cache_dir", folder / "cache"), "--progress", "none"])
    return folder / "runs" / "r" / "version_0"


@pytest.fixture
def trained(_trained_once, tmp_path) -> Path:
    """The directory of a finished run, the test's own copy; its images lie in `trained_images`."""
    return Path(shutil.copytree(_trained_once, tmp_path / "runs" / "r" / "version_0"))


@pytest.fixture
def trained_images(_trained_once) -> Path:
    """What `trained` was trained on; not to be written to."""
    return _trained_once.parents[2] / "images"


@pytest.fixture
def small_files_only() -> Callable[[int], object]:
    """A full disk: inside `with small_files_only(n):` no file can grow beyond n bytes."""

    @contextmanager
    def limited(size: int) -> Iterator[None]:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    return limited
