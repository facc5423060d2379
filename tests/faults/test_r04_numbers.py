"""R4: a loss or a gradient that is no number stops a run before it reaches the weights, and says where it came from."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image

from project.runs.checkpoints import read_checkpoint
from tests.faults.outcomes import EPOCHS, STEPS, TASKS, rows, steps_of

PROMISE = "R4"
TRAPS = ("loss nan", "loss inf", "gradient nan", "gradient inf")
STILL = {"data.augment.crop": 0, "data.augment.erase": 0, "data.augment.mixup": 0}  # a white image stays white


@pytest.fixture
def white(tmp_path, image_folder, captioned):
    """The options of data in which a training image is white, and its path: (task)."""

    def paint(task: str) -> tuple[dict, Path]:
        folder = tmp_path / "images"
        if "Caption" in task:
            shutil.copytree(captioned, folder)
            images = json.loads((folder / "captions.json").read_text())["images"]
            path = folder / [image["filename"] for image in images if image["split"] == "train"][5]
            data = {"data.annotations": folder / "captions.json", "data.images": folder, "data.augment.crop": 0}
        else:
            shutil.copytree(image_folder, folder)
            path, data = folder / "train" / "b" / "05.png", {"data.root": folder, **STILL}
        with Image.open(path) as image:
            size = image.size
        Image.new("RGB", size, "white").save(path)
        return data, path

    return paint


def finite(directory: Path, which: str) -> bool:
    checkpoint = read_checkpoint(directory / "checkpoints" / f"{which}.ckpt")
    weights = [*checkpoint["state_dict"].values(), *checkpoint["raw_weights"]["weights"].values()]
    return all(bool(weight.isfinite().all()) for weight in weights)


@pytest.mark.parametrize("trap", TRAPS)
@pytest.mark.parametrize("task", TASKS)
def test_stops_the_run(fit, white, directory, task, trap):
    data, path = white(task)
    command = fit(task, more=data, environment={"TRAP": trap})
    assert command.wait() == 1, command.output
    assert "Traceback" not in command.output
    line = command.output.splitlines()[-1]
    assert str(path) in line
    assert f"the {trap.split()[0]} is not finite" in line
    step = int(re.search(r"step (\d+)", line)[1])
    assert steps_of(directory) == step <= STEPS
    assert finite(directory, "last")
    batch = torch.load(directory / "checkpoints" / "nonfinite_batch.pt", weights_only=True)
    assert (batch["images"].amin((1, 2, 3)) == 255).any()
    assert json.loads((directory / "status.json").read_text())["status"] != "finished"


@pytest.mark.parametrize("trap", TRAPS)
@pytest.mark.parametrize("task", TASKS)
def test_can_be_left_out_and_is_counted(fit, white, directory, task, trap):
    data, _ = white(task)
    command = fit(task, more=data | {"guard.skip": EPOCHS}, environment={"TRAP": trap})
    assert command.wait() == 0, command.output
    assert steps_of(directory) == EPOCHS * STEPS
    assert finite(directory, "last")
    assert finite(directory, "best")
    counted = [float(row["train/skipped_updates"]) for row in rows(directory) if row["train/skipped_updates"]]
    assert counted == [1, 2, 3]


@pytest.mark.parametrize("task", TASKS)
def test_goes_on_behind_it(fit, white, directory, task):
    """A run that was stopped, and is started again with a budget, ends as one that had the budget from the start."""
    data, _ = white(task)
    command = fit(task, more=data, environment={"TRAP": "loss nan"})
    assert command.wait() == 1, command.output
    again = fit(task, more=data | {"guard.skip": EPOCHS, "ckpt_path": directory}, environment={"TRAP": "loss nan"})
    assert again.wait() == 0, again.output
    whole = fit(task, more=data | {"guard.skip": EPOCHS, "name": "whole"}, environment={"TRAP": "loss nan"})
    assert whole.wait() == 0, whole.output
    other = directory.parents[1] / "whole" / "version_0"
    found, expected = (read_checkpoint(run / "checkpoints" / "last.ckpt")["state_dict"] for run in (directory, other))
    assert [name for name, value in expected.items() if not torch.equal(found[name], value)] == []
    assert [row["val/loss"] for row in rows(directory)] == [row["val/loss"] for row in rows(other)]
