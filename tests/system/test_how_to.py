"""The pages of docs/how-to, followed to the letter: their files are written, their changes made, their commands run.

What is added to a command shortens it: one epoch, small images, a teacher that need not be trained first.
"""

from __future__ import annotations

import json
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from project.data import Digits
from project.losses.distillation import LOSSES
from project.models import BACKBONES
from project.models.captioning import DECODERS
from project.tasks import Classifier

ROOT = Path(__file__).parents[2]
PAGES = {path.stem: path.read_text() for path in (ROOT / "docs" / "how-to").glob("*.md")}
FILE = re.compile(r"^`([\w/]+\.py)`[^\n]*:\n\n```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
"""A block of code, and which file it is."""
SHORT = ["--trainer.max_epochs", "1", "--trainer.accelerator", "cpu", "--trainer.devices", "1", "--watch.pictures", "0"]


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGES[page], re.DOTALL | re.MULTILINE)


def commands(page: str) -> list[list[str]]:
    return [shlex.split(line) for block in blocks(page, "sh") for line in block.splitlines()]


def write_files(page: str, folder: Path) -> None:
    for name, code in FILE.findall(PAGES[page]):
        (folder / name).write_text(code)


@pytest.fixture
def outside(tmp_path, monkeypatch) -> Path:
    """A folder with the configurations, as if the project lay there; what is registered in it is forgotten afterwards."""
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    before = [(registry, dict(registry)) for registry in (BACKBONES, DECODERS, LOSSES)]
    yield tmp_path
    for registry, content in before:
        registry.clear()
        registry.update(content)
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.fixture
def teacher(tmp_path) -> Path:
    """An untrained one for the digits."""
    task = Classifier(Digits().class_names, 16, "simple_cnn")
    content = {"task": "Classifier", "hyper_parameters": dict(task.hparams), "state_dict": task.state_dict()}
    torch.save(content, tmp_path / "teacher.ckpt")
    return tmp_path / "teacher.ckpt"


def test_every_page_has_what_is_followed():
    assert set(PAGES) == {"index", "dataset", "backbone", "decoder", "distillation-loss", "metric"}
    for page in PAGES.keys() - {"index"}:
        assert FILE.search(PAGES[page])
        assert commands(page)
        assert blocks(page, "diff")


@pytest.mark.parametrize(
    ("page", "metric"),
    [
        ("dataset", "test/accuracy"),
        ("backbone", "test/accuracy"),
        ("distillation-loss", "test/teacher_accuracy"),
        ("metric", "test/kappa"),
    ],
)
def test_a_piece_from_outside(outside, teacher, monkeypatch, page, metric):
    write_files(page, outside)
    for python, script, *arguments in commands(page):
        assert (python, script) == ("python", "mine.py")
        given = ["--model.teacher", str(teacher)] if "configs/distiller/digits.yaml" in arguments else []
        monkeypatch.setattr(sys, "argv", [script, *arguments, *given, *SHORT, "--progress", "none"])
        runpy.run_path("mine.py", run_name="__main__")
    (found,) = outside.glob("runs/*/version_0/test_metrics.json")
    assert 0 <= json.loads(found.read_text())[metric] <= 1
    if page == "metric":
        assert "val/kappa" in (found.parent / "metrics.csv").read_text()
    if page == "backbone":
        checkpoint = torch.load(found.parent / "checkpoints" / "best.ckpt", weights_only=True)
        assert checkpoint["hyper_parameters"]["backbone_options"] == {"width": 32}


def test_a_decoder_from_outside(outside, captioned, monkeypatch):
    """On small drawings instead of the emoji."""
    write_files("decoder", outside)
    small = ["--data", "KarpathyCaptions", "--data.annotations", captioned / "captions.json", "--data.images", captioned,
             "--data.image_size", 16, "--data.augment.shift", 0, "--model.decoder.hidden_size", 16, "--name", "captioner-emoji"]  # fmt: skip
    for python, script, verb, *arguments in commands("decoder"):
        assert (python, script) == ("python", "mine.py")
        given = map(str, small) if verb == "fit" else ()
        monkeypatch.setattr(sys, "argv", [script, verb, *arguments, *given, *SHORT, "--progress", "none"])
        runpy.run_path("mine.py", run_name="__main__")
    (found,) = outside.glob("runs/captioner-emoji/version_0/test_metrics.json")
    checkpoint = torch.load(found.parent / "checkpoints" / "best.ckpt", weights_only=True)
    assert checkpoint["hyper_parameters"]["decoder"]["attention"] == "merge"
    assert "network.decoders.0.image.weight" in checkpoint["state_dict"]


def test_pages_say_the_same_of_the_file_that_knows_them():
    mine = {page: dict(FILE.findall(text)).get("mine.py", "") for page, text in PAGES.items()}
    assert mine["index"]
    for page in PAGES.keys() - {"index"}:
        (module,) = dict(FILE.findall(PAGES[page])).keys() - {"mine.py"}
        assert mine[page] == mine["index"].replace("shapes", module.removesuffix(".py"))


@pytest.mark.parametrize("page", sorted(PAGES.keys() - {"index"}))
def test_the_changes_of_a_page_fit_the_house(tmp_path, page):
    for change in blocks(page, "diff"):
        name = re.search(r"^\+\+\+ b/(\S+)", change, re.MULTILINE)[1]
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
        subprocess.run(["git", "apply", "--recount", "-"], cwd=tmp_path, input=change, text=True, check=True)
        compile((tmp_path / name).read_text(), name, "exec")
