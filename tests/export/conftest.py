"""Small networks whose answers differ from image to image, and their checkpoints."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from project.data.captions.vocabulary import END
from project.export.build import export
from project.runs.checkpoints import SCHEMA
from project.tasks import Captioner, Classifier, Task

SIZE = 16
WORDS = ["a", "dog", "cat", "on", "the", "grass", "runs"]


def _classifier(**options: object) -> Classifier:
    torch.manual_seed(0)
    small = {} if "backbone" in options else {"backbone_options": {"width": 4}}
    task = Classifier(["ant", "bee", "cow"], SIZE, **small | options).eval()
    task.temperature.fill_(0.1)
    return task


@torch.no_grad()
def _captioner(decoding: dict | None = None, max_words: int = 6, **decoder: object) -> Captioner:
    torch.manual_seed(0)
    sizes = {"embedding_size": 12, "hidden_size": 16}
    task = Captioner(
        WORDS, max_words, SIZE, backbone_options={"width": 4}, decoder=sizes | decoder, decoding=decoding or {}
    )
    for decoder in task.network.decoders:  # what was never trained says nothing, and the same of all images, otherwise
        for name, weight in decoder.named_parameters():
            if "bias" not in name:
                weight.mul_(8)
        decoder.output.bias[END] = -2.0
    return task.eval()


@pytest.fixture(scope="session")
def classifier() -> Callable[..., Classifier]:
    """A classifier of three classes, with a temperature."""
    return _classifier


@pytest.fixture(scope="session")
def captioner() -> Callable[..., Captioner]:
    """A captioner of seven words: (decoding, max_words, **options of the decoder)."""
    return _captioner


def _save(task: Task, folder: Path) -> Path:
    content = {"task": type(task).__name__, "schema": SCHEMA, "epoch": 0, "state_dict": task.state_dict()}
    torch.save(content | {"hyper_parameters": dict(task.hparams)}, folder / "saved.ckpt")
    return folder / "saved.ckpt"


@pytest.fixture
def saved(tmp_path) -> Callable[[Task], Path]:
    """The checkpoint of a task, in no run."""
    return lambda task: _save(task, tmp_path)


@pytest.fixture(scope="session")
def exported(tmp_path_factory) -> Callable[[str, str], tuple[Task, Path]]:
    """A task and the folder of its export, `x.FORMAT` or `x.encoder.FORMAT`: (kind, format). Each is made once."""

    @functools.cache
    def make(kind: str, format_name: str) -> tuple[Task, Path]:
        task = {"classifier": _classifier, "captioner": _captioner}[kind]()
        folder = tmp_path_factory.mktemp(kind)
        export(str(_save(task, folder)), format_name, folder / "out" / f"x.{format_name}")
        return task, folder / "out"

    return make
