"""One object an input file, in input order, whatever the number of processes; nothing half-written."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback

from project.analysis.gallery import Tile
from project.callbacks.predictions import WritePredictions
from project.errors import DataError, RunError
from project.runs.directory import RunDirectory


def label(index: int) -> dict:
    return {"label": f"p{index}", "probability": float(index), "top5": [["x", 1.0]]}


def trainer(rank: int, world_size: int) -> SimpleNamespace:
    strategy = SimpleNamespace(barrier=lambda name: None, broadcast=lambda value: value)
    return SimpleNamespace(
        global_rank=rank,
        world_size=world_size,
        is_global_zero=rank == 0,
        strategy=strategy,
        received_sigterm=False,
        datamodule=None,
    )


@pytest.fixture
def inputs(tmp_path) -> list[Path]:
    from PIL import Image

    paths = [tmp_path / f"{name}.png" for name in ("z", "a b", "m", "ü", "c", "d", "e")]
    for path in paths:
        Image.new("RGB", (4, 4)).save(path)
    return paths


def test_predictions_into_a_directory_that_was_removed_say_so(tmp_path, inputs):
    directory = RunDirectory.create(tmp_path, "r")
    callback = WritePredictions(directory, inputs[:1])
    callback.on_predict_start(trainer(0, 1), None)
    shutil.rmtree(directory.path)
    callback.on_predict_batch_end(trainer(0, 1), None, (torch.arange(1), [label(0)]), None, 0)
    with pytest.raises(RunError, match="version_0: was removed or renamed"):
        callback.on_predict_end(trainer(0, 1), None)


def test_predictions_link_in_the_place_of_a_share_is_not_followed(tmp_path, inputs):
    directory = RunDirectory.create(tmp_path, "r")
    outside = tmp_path / "outside.txt"
    outside.write_text("mine")
    (directory.path / f".predictions.jsonl.{os.getpid()}.0.tmp").symlink_to(outside)
    write(directory, inputs[:1], [label(0)])
    assert outside.read_text() == "mine"


@pytest.mark.parametrize("count", [1, 2, 6, 7])
@pytest.mark.parametrize("world_size", [1, 2, 3])
@pytest.mark.parametrize("batch_size", [1, 2, 10])
def test_rows_come_in_input_order(tmp_path, inputs, count, world_size, batch_size):
    directory = RunDirectory.create(tmp_path, "r")
    for rank in reversed(range(world_size)):  # the first process merges, after all others are done
        callback = WritePredictions(directory, inputs[:count])
        callback.on_predict_start(trainer(rank, world_size), None)
        for indices in torch.arange(count)[rank::world_size].split(batch_size):
            if len(indices):
                outputs = (indices, [label(index) for index in indices.tolist()])
                callback.on_predict_batch_end(trainer(rank, world_size), None, outputs, None, 0)
        callback.on_predict_end(trainer(rank, world_size), None)
    rows = [json.loads(line) for line in (directory.path / "predictions.jsonl").read_text().splitlines()]
    assert rows == [
        {"path": str(path), "label": f"p{i}", "probability": float(i), "top5": [["x", 1.0]]}
        for i, path in enumerate(inputs[:count])
    ]
    assert sorted(path.name for path in directory.path.iterdir()) == ["checkpoints", "index.html", "predictions.jsonl"]


def test_two_commands_on_one_run_do_not_mix(tmp_path, inputs, monkeypatch):
    directory, files = RunDirectory.create(tmp_path, "r"), {1: inputs[:2], 2: inputs[2:4]}
    commands = {}
    for pid, paths in files.items():
        monkeypatch.setattr(os, "getpid", lambda pid=pid: pid)
        commands[pid] = WritePredictions(directory, paths)
        commands[pid].on_predict_start(trainer(0, 1), None)
    for pid, command in commands.items():
        command.on_predict_batch_end(trainer(0, 1), None, (torch.arange(2), [label(pid), label(pid)]), None, 0)
    for pid, command in commands.items():  # the later one stays, whole
        command.on_predict_end(trainer(0, 1), None)
        rows = [json.loads(line) for line in (directory.path / "predictions.jsonl").read_text().splitlines()]
        assert [(row["path"], row["label"]) for row in rows] == [(str(path), f"p{pid}") for path in files[pid]]


def test_what_a_killed_command_left_goes_when_it_is_old(run, trained, trained_images):
    new, old = (trained / f".predictions.jsonl.{pid}.0.tmp" for pid in (1, 2))
    for share in (new, old):
        share.write_text("{")
    os.utime(old, (0, 0))
    assert run("predict", "--ckpt_path", trained, "--data.predict", trained_images) == 0
    assert (new.exists(), old.exists()) == (True, False)
    new.unlink()


class Stop(Callback):
    """Sends SIGTERM at the second batch."""

    def on_predict_batch_start(self, trainer, pl_module, batch, batch_idx, dataloader_idx=0):
        if batch_idx == 1:
            os.kill(os.getpid(), signal.SIGTERM)


def test_a_signal_ends_it_at_once(run, trained, trained_images):
    stop = ("--trainer.callbacks", json.dumps([{"class_path": f"{__name__}.Stop"}]))
    given = ("predict", "--ckpt_path", trained, "--data.predict", trained_images, "--data.eval_batch_size", 10)
    assert run(*given, *stop) == 143
    assert not list(trained.rglob("*predictions*"))
    assert run(*given) == 0
    assert len((trained / "predictions.jsonl").read_text().splitlines()) == 60


def test_a_broken_off_prediction_leaves_the_earlier_one_and_nothing_else(run, fails, trained, trained_images, tmp_path):
    assert run("predict", "--ckpt_path", trained, "--data.predict", trained_images / "a") == 0
    before = {
        path.name: path.read_bytes() for path in trained.iterdir() if path.name in ("predictions.jsonl", "index.html")
    }
    assert len(before) == 2
    bad = tmp_path / "bad"
    bad.mkdir()
    (bad / "00.png").write_bytes((trained_images / "a" / "00.png").read_bytes())
    (bad / "01.png").write_bytes(b"not an image")
    given = ("predict", "--ckpt_path", trained, "--data.predict", bad, "--data.on_bad_image", "raise")
    assert "01.png" in fails(*given)
    assert not list(trained.glob("predictions_*"))
    assert str(tmp_path / "out") not in fails(*given, "--output", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert {name: (trained / name).read_bytes() for name in before} == before
    assert [path.name for path in trained.iterdir() if path.name.startswith(".")] == []


def lines_of(path: Path) -> list[dict]:
    return [json.loads(line) for line in (path / "predictions.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("batch_size", [1, 2, 64])  # 1: no file of some batches can be read
@pytest.mark.parametrize("bad", [(0,), (3,), (6, 7)])
def test_predict_goes_on_after_files_that_cannot_be_read(
    run, trained, trained_images, tmp_path, capsys, bad, batch_size
):
    photos = Path(shutil.copytree(trained_images / "a", tmp_path / "photos"))
    files = sorted(photos.iterdir())[:8]
    for file in sorted(photos.iterdir())[8:]:
        file.unlink()
    for number in bad:
        files[number].write_bytes(files[number].read_bytes()[:50])
    given = ("predict", "--ckpt_path", trained, "--data.predict", photos, "--data.eval_batch_size", batch_size)
    assert run(*given) == 0
    rows = lines_of(trained)
    assert [row["path"] for row in rows] == [str(file) for file in files]
    assert [number for number, row in enumerate(rows) if "error" in row] == list(bad)
    for number, row in enumerate(rows):
        assert set(row) == ({"path", "error"} if number in bad else {"path", "label", "probability", "top5"})
        assert number not in bad or str(files[number]) in row["error"]
    page = (trained / "index.html").read_text()
    assert f"{8 - len(bad)} predictions, {len(bad)} unreadable files" in page
    assert page.count("<template>") == 8 - len(bad)
    out = capsys.readouterr().out.splitlines()
    assert out[-1] == f"{len(bad)} of 8 files could not be read; their rows in predictions.jsonl have an error"
    assert len([line for line in out if line.startswith("unreadable: ")]) == len(bad)


def test_predict_without_a_file_that_can_be_read_is_one_line(fails, trained, tmp_path):
    for name in "ab":
        (tmp_path / f"{name}.png").write_bytes(b"not an image")
    given = ("--data.predict", tmp_path / "a.png", tmp_path / "b.png")
    line = fails("predict", "--ckpt_path", trained, *given)
    assert line.startswith(f"error: data.predict: none of 2 files can be read: {tmp_path / 'a.png'}: cannot be read")
    assert "b.png" not in line
    assert not list(trained.rglob("*predictions*"))


def test_predict_again_writes_beside_the_earlier_predictions(run, fails, trained, trained_images, tmp_path, capsys):
    one, other = (sorted((trained_images / name).iterdir())[:2] for name in "ab")
    assert run("predict", "--ckpt_path", trained, "--data.predict", *one) == 0
    for _ in range(2):
        assert run("predict", "--ckpt_path", trained, "--data.predict", *other) == 0
    places = (trained, trained / "predictions_1", trained / "predictions_2")
    assert f"predictions: {places[2] / 'predictions.jsonl'}" in capsys.readouterr().out
    for place, files in zip(places, (one, other, other), strict=True):
        assert [row["path"] for row in lines_of(place)] == [str(file) for file in files]
        assert (place / "index.html").is_file()
    own = ("predict", "--ckpt_path", trained, "--data.predict", *one, "--output", tmp_path / "a" / "b")
    before = sorted(trained.rglob("*"))
    assert run(*own) == 0
    assert sorted(trained.rglob("*")) == before
    assert len(lines_of(tmp_path / "a" / "b")) == 2
    text = (tmp_path / "a" / "b" / "predictions.jsonl").read_text()
    assert (
        fails(*own)
        == f"error: output: {tmp_path / 'a' / 'b'}: has predictions, which would be lost; give another directory"
    )
    assert (tmp_path / "a" / "b" / "predictions.jsonl").read_text() == text
    (tmp_path / "file").touch()
    assert "output: " in fails(*own[:-1], tmp_path / "file")


def caption(number: int = 0, words: str = "a cat", finished: bool = True, attention: bool = True) -> dict:
    """A caption of which the probability of every word is 1/2, and whose maps (2, 3) hold the word's number."""
    texts = words.split()
    return {
        "caption": words,
        "log_probability": math.log(0.5) * len(texts),
        "finished": finished,
        "words": [{"word": text, "log_probability": math.log(0.5)} for text in texts],
        "alternatives": [
            {"caption": words, "log_probability": math.log(0.25), "finished": finished, "score": -1.0},
            {"caption": f"dog {number}", "log_probability": math.log(0.125), "finished": False, "score": -2.0},
        ],
        **({"_attention": attention_maps(len(texts))} if attention else {}),
    }


def attention_maps(count: int) -> dict:
    return {"height": 2, "width": 3, "crop": 0.875, "maps": [[number] * 5 + [255] for number in range(count)]}


def write(directory: RunDirectory, inputs: list[Path], answers: list[dict], world_size: int = 1) -> list[dict]:
    """Writes the answers as `world_size` processes in batches of two, and reads the rows."""
    for rank in reversed(range(world_size)):
        process = trainer(rank, world_size)
        callback = WritePredictions(directory, inputs)
        callback.on_predict_start(process, None)
        for indices in torch.arange(len(answers))[rank::world_size].split(2):
            if len(indices):
                outputs = (indices, [answers[index] for index in indices])
                callback.on_predict_batch_end(process, object(), outputs, None, 0)
        callback.on_predict_end(process, None)
    return [json.loads(line) for line in (directory.path / "predictions.jsonl").read_text().splitlines()]


@pytest.fixture
def tiles(monkeypatch) -> list[Tile]:
    """What the gallery would be drawn from."""
    drawn: list[Tile] = []
    monkeypatch.setattr(
        "project.callbacks.predictions.write_gallery", lambda path, tiles, *heading: drawn.extend(tiles)
    )
    return drawn


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_lists_are_answers_too_and_what_is_for_the_gallery_stays_out_of_the_rows(tmp_path, inputs, world_size):
    directory = RunDirectory.create(tmp_path, "r")
    rows = write(directory, inputs, [caption(number) for number in range(len(inputs))], world_size)
    assert rows == [
        {"path": str(path), **caption(number, attention=False)} for number, path in enumerate(inputs)
    ]  # nothing that begins with "_"
    page = (directory.path / "index.html").read_text()
    assert page.count('data-map="') == 2 * len(inputs)
    assert [page.index(f"dog {number}") for number in range(len(inputs))] == sorted(
        page.index(f"dog {number}") for number in range(len(inputs))
    )
    assert sorted(path.name for path in directory.path.iterdir()) == ["checkpoints", "index.html", "predictions.jsonl"]


def test_fewer_answers_than_indices_are_not_taken(tmp_path, inputs):
    callback = WritePredictions(RunDirectory.create(tmp_path, "r"), inputs)
    callback.on_predict_start(trainer(0, 1), None)
    with pytest.raises(ValueError, match="shorter"):
        callback.on_predict_batch_end(trainer(0, 1), object(), (torch.tensor([0, 1]), [caption()]), None, 0)
    callback.on_exception(trainer(0, 1), None, ValueError())
    assert [path.name for path in callback.run.path.iterdir()] == ["checkpoints"]


@pytest.mark.parametrize("end", [0, 1])  # with and without a map of the end of the sentence
def test_a_caption_becomes_a_tile(tmp_path, inputs, tiles, end):
    answer = caption() | {"_attention": attention_maps(2 + end)}
    write(RunDirectory.create(tmp_path, "r"), inputs[:1], [answer])
    (tile,) = tiles
    assert tile.image == inputs[0].resolve()
    assert tile.title == "a cat"
    assert tile.confidence == pytest.approx(0.5)  # of a word, however long the caption is
    assert [label for label, _ in tile.details] == ["a cat", "dog 0 …"]
    assert [probability for _, probability in tile.details] == pytest.approx([0.25, 0.125])
    assert not tile.cut_off
    assert tile.crop == 0.875
    assert [word.text for word in tile.words] == ["a", "cat"]
    assert [word.probability for word in tile.words] == pytest.approx([0.5, 0.5])
    for number, word in enumerate(tile.words):
        assert word.attention.dtype == np.uint8
        assert word.attention.tolist() == [[number] * 3, [number, number, 255]]


def test_captions_without_attention_without_an_end_and_without_words(tmp_path, inputs, tiles):
    answers = [caption(attention=False), caption(finished=False), caption(words="")]
    write(RunDirectory.create(tmp_path, "r"), inputs[:3], answers)
    plain, cut_off, empty = tiles
    assert [word.attention for word in plain.words] == [None, None]
    assert plain.crop == 1
    assert cut_off.cut_off
    assert cut_off.title == cut_off.details[0][0] == "a cat …"
    assert (empty.title, empty.confidence, empty.words) == ("(no words)", None, [])


def test_a_failing_gallery_leaves_the_rows_and_nothing_half_written(tmp_path, inputs):
    directory = RunDirectory.create(tmp_path, "r")
    inputs[1].write_bytes(b"not an image")
    with pytest.raises(DataError, match=inputs[1].name):
        write(directory, inputs[:3], [caption(number) for number in range(3)], world_size=2)
    assert len((directory.path / "predictions.jsonl").read_text().splitlines()) == 3
    assert sorted(path.name for path in directory.path.iterdir()) == ["checkpoints", "predictions.jsonl"]


def test_a_failing_merge_leaves_the_earlier_rows_and_nothing_half_written(tmp_path, inputs, monkeypatch):
    directory = RunDirectory.create(tmp_path, "r")
    before = write(directory, inputs[:1], [caption()])

    def full(*_) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("project.callbacks.predictions.os.replace", full)
    with pytest.raises(OSError, match="no space"):
        write(directory, inputs[:3], [caption(number) for number in range(3)], world_size=2)
    assert [json.loads(line) for line in (directory.path / "predictions.jsonl").read_text().splitlines()] == before
    assert [path.name for path in directory.path.iterdir() if path.name.startswith(".")] == []
