"""R7: a checkpoint that is damaged, foreign or too new is refused in one line; an older one opens."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import pytest
import torch

from project.runs.checkpoints import SCHEMA, read_checkpoint
from tests.faults.outcomes import TASKS

PROMISE = "R7"


def cut(share: float):
    return lambda path, checkpoint: path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])


def flip_a_bit(path: Path, checkpoint: dict) -> None:
    """In the middle of the largest tensor of the weights."""
    largest = max(checkpoint["state_dict"].values(), key=lambda tensor: tensor.numel() * tensor.element_size())
    content = bytearray(path.read_bytes())
    content[content.index(bytes(largest.untyped_storage())) + 9] ^= 1 << random.Random(0).randrange(8)
    path.write_bytes(content)


def without_a_weight(path: Path, checkpoint: dict) -> None:
    checkpoint["state_dict"].popitem()
    torch.save(checkpoint, path)


def of_another_shape(path: Path, checkpoint: dict) -> None:
    name = next(name for name, value in checkpoint["state_dict"].items() if value.ndim == 4)
    checkpoint["state_dict"][name] = checkpoint["state_dict"][name][:1]
    torch.save(checkpoint, path)


DAMAGE = {
    "absent": lambda path, checkpoint: path.unlink(),
    "a folder": lambda path, checkpoint: (path.unlink(), path.mkdir()),
    "cut to 0 %": cut(0),
    "cut to 10 %": cut(0.1),
    "cut to 50 %": cut(0.5),
    "cut to 99 %": cut(0.99),
    "one bit": flip_a_bit,
    "text": lambda path, checkpoint: path.write_text("hello, I am a note\n" * 99),
    "foreign": lambda path, checkpoint: torch.save({"state_dict": {"w": torch.ones(2)}, "epoch": 1}, path),
    "Lightning's": lambda path, checkpoint: torch.save(
        {key: checkpoint[key] for key in ("state_dict", "loops", "optimizer_states", "epoch", "global_step")}, path
    ),
    "another task's": lambda path, checkpoint: torch.save(checkpoint | {"task": "Detector"}, path),
    "too new": lambda path, checkpoint: torch.save(checkpoint | {"schema": SCHEMA + 1}, path),
    "a weight short": without_a_weight,
    "other shapes": of_another_shape,
}


@pytest.mark.parametrize("verb", ["fit", "test", "predict"])
@pytest.mark.parametrize("kind", DAMAGE)
@pytest.mark.parametrize("task", ["Classifier", "Captioner", "Distiller"])
def test_is_refused(mends, wholes, image_folder, tmp_path, task, kind, verb):
    directory = Path(shutil.copytree(wholes.run(task), tmp_path / "runs" / "r" / "version_0"))
    path = directory / "checkpoints" / "last.ckpt"
    before = {file.name: file.read_bytes() for file in directory.iterdir() if file.is_file()}
    DAMAGE[kind](path, read_checkpoint(path))
    more = {"fit": ["--trainer.max_epochs", 4], "test": [], "predict": ["--data.predict", image_folder / "test"]}[verb]
    line = mends([verb, "--ckpt_path", path, *more])
    assert str(path) in line
    # nothing was half done
    after = {file.name: file.read_bytes() for file in directory.iterdir() if file.is_file()}
    changed = {name for name in before | after if before.get(name) != after.get(name)}
    assert not changed & {"metrics.csv", "test_metrics.json", "predictions.jsonl", "index.html"}


FROZEN = Path(__file__).parents[1] / "runs" / "frozen"


@pytest.mark.parametrize("task", TASKS)
def test_an_older_one_opens(start, image_folder, captioned, tmp_path, task):
    """Written by an earlier version of this codebase; see `tests/system/freeze.py`."""
    directory = Path(shutil.copytree(FROZEN / task, tmp_path / "runs" / "f" / "version_0"))
    photos = image_folder / "test"
    command = start(["predict", "--ckpt_path", directory / "checkpoints" / "last.ckpt", "--data.predict", photos])
    assert command.wait() == 0, command.output
    found = [json.loads(line) for line in (directory / "predictions.jsonl").read_text().splitlines()]
    assert len(found) == 6
