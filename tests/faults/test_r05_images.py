"""R5: an image that cannot be read is named, with its split; only in training can it be left out, and it is counted."""

from __future__ import annotations

import csv
import itertools
import json
import os
import shutil
import struct
import zlib
from pathlib import Path

import pytest
from PIL import Image

from project.files import read_text
from project.text import printable
from tests.faults.outcomes import leftovers, steps_of
from tests.hostile import HOSTILE_NAMES, UNPRINTABLE

PROMISE = "R5"


def huge(path: Path) -> None:
    """The head of a PNG that claims 60,000 × 60,000 pixels."""
    head = b"IHDR" + struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head)) + bytes(99)
    )


BAD = {
    "cut": lambda path: path.write_bytes(path.read_bytes()[:200]),
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("not an image, but as long as one\n" * 20),
    "gone": lambda path: (path.unlink(), path.symlink_to(path.parent / "nowhere.png")),
    "format": lambda path: Image.new("RGB", (12, 12)).save(path, "EPS"),  # which Pillow starts Ghostscript for
    "huge": huge,
}

LISTED = "listed images are not there"  # which a set of captions finds before it reads any


@pytest.fixture
def data(tmp_path, image_folder, captioned):
    """A copy of a task's images, and the options that name it: (task)."""

    def copy(task: str) -> tuple[Path, dict]:
        folder = tmp_path / "images"
        if "Caption" in task:
            shutil.copytree(captioned, folder)
            return folder, {"data.annotations": folder / "captions.json", "data.images": folder}
        shutil.copytree(image_folder, folder)
        return folder, {"data.root": folder}

    return copy


def one_of(folder: Path, split: str) -> Path:
    """An image of a split."""
    listing = folder / "captions.json"
    if not listing.exists():
        return folder / split / "b" / "01.png"
    images = json.loads(listing.read_text())["images"]
    return folder / [image["filename"] for image in images if image["split"] == split][3]


@pytest.mark.parametrize("kind", BAD)
@pytest.mark.parametrize("task", ["Classifier", "Captioner", "Distiller"])
@pytest.mark.parametrize(("split", "storage"), [("train", "resident"), ("train", "stream"), ("val", "stream")])
def test_is_named(fit, mends, wholes, data, directory, tmp_path, task, kind, split, storage):
    folder, options = data(task)
    bad = one_of(folder, split)
    BAD[kind](bad)
    line = mends(wholes.options(task, tmp_path / "runs", options | {"data.storage": storage, "trainer.max_epochs": 1}))
    assert str(bad) in line
    assert f"{split} split" in line or LISTED in line
    if split == "val" and task != "Distiller" and LISTED not in line:  # an epoch of training is not lost with it
        assert steps_of(directory) == 24
        assert leftovers(directory) == []


@pytest.mark.parametrize("kind", BAD)
@pytest.mark.parametrize("task", ["Classifier", "Captioner"])
@pytest.mark.parametrize("storage", ["resident", "stream"])
def test_is_left_out_of_training_and_listed(fit, data, directory, task, kind, storage):
    folder, options = data(task)
    bad = one_of(folder, "train")
    BAD[kind](bad)
    skip = {"data.storage": storage, "data.on_bad_image": "skip", "data.batch_size": 2, "trainer.max_epochs": 1}
    command = fit(task, more=options | skip)
    assert command.wait() == 0, command.output
    (listed,) = (directory / "skipped_images.txt").read_text().splitlines()
    assert str(bad) in listed
    assert "skipped 1 unreadable" in command.output


@pytest.mark.parametrize("kind", BAD)
@pytest.mark.parametrize("task", ["Classifier", "Captioner"])
@pytest.mark.parametrize("verb", ["test", "predict"])
def test_is_never_left_out_of_a_measurement(mends, wholes, data, tmp_path, task, kind, verb):
    folder, options = data(task)
    bad = one_of(folder, "test")
    BAD[kind](bad)
    given = {"data.predict": folder / "test" if task == "Classifier" else folder} if verb == "predict" else options
    policy = "raise" if verb == "predict" else "skip"
    given = given | {"data.on_bad_image": policy, "trainer.default_root_dir": tmp_path / "runs", "name": "m"}
    line = mends(
        [
            verb,
            "--ckpt_path",
            wholes.run(task),
            *(str(x) for name, value in given.items() for x in (f"--{name}", value)),
        ]
    )
    assert str(bad) in line
    assert f"{verb} split" in line or LISTED in line
    assert not list((tmp_path / "runs").rglob("*_metrics.json")) + list((tmp_path / "runs").rglob("predictions.jsonl"))


@pytest.mark.parametrize("storage", ["resident", "stream"])
def test_fifo_in_training_is_named_without_waiting_and_can_be_left_out(mends, fit, wholes, data, tmp_path, storage):
    folder, options = data("Classifier")
    bad = one_of(folder, "train")
    bad.unlink()
    os.mkfifo(bad)
    options = options | {"data.storage": storage, "trainer.max_epochs": 1}
    line = mends(wholes.options("Classifier", tmp_path / "named", options))
    assert f"{bad}: cannot be read (not a regular file)" in line
    command = fit("Classifier", more=options | {"data.on_bad_image": "skip"})
    assert command.wait() == 0, command.output
    assert "skipped 1 unreadable" in command.output


@pytest.mark.parametrize("given", ["fifo.png", "fifo*.png", ""])
def test_fifo_to_predict_on_is_named_without_waiting(mends, wholes, tmp_path, given):
    bad = tmp_path / "photos" / "fifo.png"
    bad.parent.mkdir()
    os.mkfifo(bad)
    line = mends(
        ["predict", "--ckpt_path", wholes.run("Classifier"), "--data.predict", tmp_path / "photos" / given,
         "--data.on_bad_image", "raise", "--trainer.default_root_dir", tmp_path / "runs", "--name", "m"]
    )  # fmt: skip
    assert f"{bad}: cannot be read (not a regular file)" in line


@pytest.mark.parametrize("kind", BAD)
@pytest.mark.parametrize("split", ["train", "val"])
def test_that_turns_bad_in_mid_run_costs_nothing(fit, wholes, data, directory, ends_as_whole, split, kind):
    """What was learned up to it is saved; with the file back, the run goes on as if nothing had been."""
    folder, options = data("Classifier")
    bad = one_of(folder, split)
    good = bad.read_bytes()
    command = fit("Classifier", "train 26", more=options)
    command.wait_for_pause()
    BAD[kind](bad)
    command.go_on()
    assert command.wait() == 2, command.output
    assert str(bad) in command.output
    assert steps_of(directory) >= 26
    bad.unlink()
    bad.write_bytes(good)
    ends_as_whole("Classifier", options)


def test_hostile_names_of_files_and_classes_stay_text(start, fit, image_folder, directory, tmp_path):
    names = [name.replace("/", "") for name in HOSTILE_NAMES]
    picture = next(image_folder.rglob("*.png")).read_bytes()
    for split, name in itertools.product(("train", "val", "test"), names):
        (tmp_path / "tree" / split / name).mkdir(parents=True)
        for number in range(2):
            (tmp_path / "tree" / split / name / f"{number}{name}.png").write_bytes(picture)
    for name in names:
        (tmp_path / "tree" / "train" / name / f"bad{name}.png").touch()
    skip = {"data.on_bad_image": "skip", "data.batch_size": 15, "trainer.max_epochs": 1, "watch.pictures": 1}
    commands = [fit("Classifier", more={"data.root": tmp_path / "tree"} | skip)]
    assert commands[0].wait() == 0, commands[0].output
    for more in (["test"], ["predict", "--data.predict", tmp_path / "tree" / "test"]):
        commands.append(start([more[0], "--ckpt_path", directory, *more[1:]]))
        assert commands[-1].wait() == 0, commands[-1].output
    for command in commands:
        assert not UNPRINTABLE.search(command.output.replace("\n", ""))
        assert not any(line.startswith("error:") for line in command.output.splitlines())
    listed = read_text(directory / "skipped_images.txt").split("\n")
    assert len(listed) == len(names) + 1
    assert not any(map(UNPRINTABLE.search, listed))
    table = list(csv.reader(read_text(directory / "test_confusion.csv").split("\n")))
    assert sorted(cell.removeprefix("'") for cell in table[0][1:]) == sorted(map(printable, names))
    assert not any(cell.startswith(("=", "+", "-", "@")) for row in table for cell in row)
    page = read_text(directory / "index.html")
    assert "<script>alert" not in page
    assert "<img src=x" not in page
    assert not list(tmp_path.rglob("owned"))
