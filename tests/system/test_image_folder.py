"""Anyone's images, of every kind of file, from training to prediction."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image

from project.runs.checkpoints import read_checkpoint
from project.tasks import Classifier


def exif(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


def save_odd(folder, level: int, seed: int) -> None:
    """One image of each odd kind, of brightness `level` and of sizes from 5 × 40 to 70 × 33."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(seed)

    def rgb(height: int, width: int) -> np.ndarray:
        return (level + random.integers(0, 50, (height, width, 3))).astype(np.uint8)

    grey = rgb(20, 31)[..., 0]
    Image.fromarray(grey).save(folder / "grey.png")
    Image.fromarray(np.dstack([rgb(16, 16), grey[:16, :16]])).save(folder / "rgba.png")
    Image.fromarray(rgb(40, 5)).convert("P").save(folder / "palette.gif")
    Image.fromarray(grey.astype(np.uint16) * 257).save(folder / "sixteen.png")
    Image.fromarray(rgb(33, 70)).convert("CMYK").save(folder / "cmyk.jpg")
    Image.fromarray(rgb(12, 24)).save(folder / "turned.jpg", exif=exif(6))
    Image.fromarray(grey).convert("LA").save(folder / "grey_alpha.png")
    Image.fromarray(grey > level + 25).save(folder / "one_bit.tif")
    (folder / "deeper").mkdir()
    Image.fromarray(rgb(9, 9)).save(folder / "deeper" / "UPPER.JPG")
    (folder / "notes.txt").write_text("no image")
    (folder / ".hidden.png").write_text("no image")


@pytest.fixture(params=["single", "split", "val only"])
def tree(request, tmp_path):
    parts = {"single": [""], "split": ["train", "val", "test"], "val only": ["train", "val"]}[request.param]
    for seed, part in enumerate(parts):
        for name, level in (("dark side", 10), ("light", 190)):
            save_odd(tmp_path / "odd" / part / name, level, seed)
    return request.param, tmp_path / "odd"


@pytest.mark.parametrize("storage", ["resident", "stream"])
def test_fit_test_and_predict_on_odd_images(run, tree, fit_options, tmp_path, caplog, storage):
    layout, root = tree
    augment = ("--data.augment.crop", 1, "--data.augment.flip", "true", "--data.storage", storage)
    assert run(*fit_options(root, tmp_path / "runs", *augment, "--data.batch_size", 4)) == 0
    directory = tmp_path / "runs" / "r" / "version_0"
    checkpoint = read_checkpoint(directory / "checkpoints" / "best.ckpt")
    assert checkpoint["hyper_parameters"]["class_names"] == ["dark side", "light"]
    caplog.clear()
    assert run("test", "--ckpt_path", directory) == 0
    said = "test uses the validation split" in caplog.text
    assert said is (layout == "val only")
    found = json.loads((directory / "test_metrics.json").read_text())
    assert {"test/class_accuracy/dark side", "test/class_accuracy/light"} <= found.keys()
    samples = json.loads((directory / "provenance.json").read_text())[-1]["data"]
    counts = {name: part["samples"] for name, part in samples.items()}
    # of nine images a class: one for testing, then one of eight for validation
    assert counts == {
        "single": {"train": 14, "val": 2, "test": 2}, "split": {"train": 18, "val": 18, "test": 18},
        "val only": {"train": 18, "val": 18},
    }[layout]  # fmt: skip
    part = root if layout == "single" else root / "val"
    assert run("predict", "--ckpt_path", directory, "--data.predict", part) == 0
    rows = [json.loads(line) for line in (directory / "predictions.jsonl").read_text().splitlines()]
    images = [path for path in part.rglob("*") if path.is_file() and path.suffix != ".txt" and path.name[0] != "."]
    assert [row["path"] for row in rows] == [str(path) for path in sorted(images)]
    assert len(rows) == 18
    gallery = (directory / "index.html").read_text()
    assert all(path.name in gallery for path in images)


def test_all_commands_accept_names_beyond_unicode_and_the_basic_plane(run, image_tree, fit_options, tmp_path):
    """As a file name that is not UTF-8 has them, and in each place where a user gives a name."""
    odd, name = "\U0001f600 caf\udce9", "\U0001f600 1e5"
    root = image_tree(tmp_path / odd, count=12, classes=(odd, "\U0001f622"))
    for path in sorted(root.rglob("*.png")):
        path.rename(path.with_name(f"\udcff{path.name}"))
    options = fit_options(root, tmp_path / "runs", "--name", name, "--watch.pictures", 1)
    assert run(*options, "--trainer.max_epochs", 1) == 0
    directory = tmp_path / "runs" / name / "version_0"
    assert run("fit", "--ckpt_path", directory, "--trainer.max_epochs", 2) == 0
    assert run("fit", "--config", directory / "config.yaml", "--trainer.max_epochs", 1) == 0
    for verb in ("test", "validate"):
        assert run(verb, "--ckpt_path", directory) == 0
    found = json.loads((directory / "test_metrics.json").read_text())
    assert {"test/class_accuracy/\U0001f600 caf\\udce9", "test/class_accuracy/\U0001f622"} <= found.keys()
    assert run("predict", "--ckpt_path", directory, "--data.predict", root / odd) == 0
    assert {row["path"] for row in read(directory)} == {str(path) for path in (root / odd).iterdir()}


def read(directory) -> list[dict]:
    return [json.loads(line) for line in (directory / "predictions.jsonl").read_text().splitlines()]


def test_prediction_needs_the_checkpoint_alone_and_python_gives_the_same(run, trained, tmp_path, monkeypatch):
    """With the training images out of reach: by folder, by file and by glob."""
    save_odd(tmp_path / "photos" / "x", 10, 5)
    save_odd(tmp_path / "photos" / "y", 150, 6)
    (tmp_path / "alone").mkdir()
    checkpoint = (trained / "checkpoints" / "best.ckpt").rename(tmp_path / "alone" / "c.ckpt")
    monkeypatch.chdir(tmp_path / "alone")
    options = ("--trainer.default_root_dir", tmp_path / "out", "--name", "p", "--trainer.precision", "32-true")
    given = [tmp_path / "photos", tmp_path / "photos" / "x" / "cmyk.jpg", tmp_path / "photos" / "*" / "turned.*"]
    expected = [
        sorted(p for p in (tmp_path / "photos").rglob("*") if p.suffix.lower() in (".png", ".gif", ".jpg", ".tif")
               and p.name[0] != "."),
        [given[1]],
        [tmp_path / "photos" / name / "turned.jpg" for name in "xy"],
    ]  # fmt: skip
    task = Classifier.load_from_checkpoint(checkpoint)
    for number, (pattern, paths) in enumerate(zip(given, expected, strict=True)):
        assert run("predict", "--ckpt_path", checkpoint, "--data.predict", pattern, *options) == 0
        rows = read(tmp_path / "out" / "p" / f"version_{number}")
        assert [row.pop("path") for row in rows] == [str(path) for path in paths]
        answers = task.predict(paths)
        assert [row["label"] for row in rows] == [answer["label"] for answer in answers]
        assert [[name for name, _ in row["top5"]] for row in rows] == [[n for n, _ in a["top5"]] for a in answers]
        for row, answer in zip(rows, answers, strict=True):
            assert row["probability"] == pytest.approx(answer["probability"], abs=1e-6)
            assert sum(value for _, value in row["top5"]) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("count", [1, 63, 64, 65, 130])
def test_predictions_come_in_input_order_over_several_batches(run, trained, tmp_path, count):
    (tmp_path / "many").mkdir()
    random = np.random.default_rng(0)
    for i in range(count):
        Image.fromarray(random.integers(0, 256, (6, 6, 3)).astype(np.uint8)).save(tmp_path / "many" / f"{i:03}.png")
    options = ("--data.predict", tmp_path / "many", "--data.num_workers", 2, "--trainer.precision", "32-true")
    assert run("predict", "--ckpt_path", trained, *options) == 0
    rows = read(trained)
    paths = sorted((tmp_path / "many").iterdir())
    assert [row["path"] for row in rows] == [str(path) for path in paths]
    answers = Classifier.load_from_checkpoint(trained / "checkpoints" / "best.ckpt").predict(paths)
    assert [row["probability"] for row in rows] == pytest.approx([a["probability"] for a in answers], abs=1e-6)


@pytest.mark.parametrize("storage", ["resident", "stream"])
def test_fewer_images_than_a_batch_still_train(run, image_tree, fit_options, tmp_path, storage):
    images = image_tree(tmp_path / "few", count=3)
    options = fit_options(images, tmp_path / "runs", "--data.batch_size", 500, "--data.storage", storage)
    assert run(*options) == 0
    last = read_checkpoint(tmp_path / "runs/r/version_0/checkpoints/last.ckpt")
    assert last["global_step"] == 2
    torch.manual_seed(0)  # `--seed`: what the weights were before
    initial = Classifier(["a", "b", "c"], 12, backbone_options={"width": 4}).state_dict()
    assert not torch.equal(last["state_dict"]["network.head.weight"], initial["network.head.weight"])
    momentum = last["optimizer_states"][0]["state"][0]["momentum_buffer"]
    assert momentum.abs().sum() > 0


def test_a_single_image_a_class_cannot_be_shared(fails, image_tree, fit_options, tmp_path):
    images = image_tree(tmp_path / "few", count=1)
    assert "two or more" in fails(*fit_options(images, tmp_path / "runs"))


@pytest.fixture
def deep(tmp_path):
    """Faint 12-bit images of two kinds in files of 16 bits, and one of each beside them."""
    random = np.random.default_rng(0)
    for name, slope in (("falling", -1), ("rising", 1)):
        for number in range(12):
            ramp = 350 + slope * np.linspace(-150, 150, 12) + random.integers(-9, 9, (12, 12))
            folder = tmp_path / ("more" if number == 11 else f"deep/{'train' if number < 8 else 'val'}/{name}")
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(ramp.astype(np.uint16)).save(folder / f"{name}{number}.tif")
    return tmp_path / "deep"


@pytest.mark.parametrize("storage", ["resident", "stream"])
def test_12_bits_in_16_are_the_same_pixels_in_training_test_prediction_and_python(
    deep, run, fails, fit_options, tmp_path, storage, capsys
):
    options = fit_options(
        deep, tmp_path / "runs", "--data.storage", storage, "--data.batch_size", 4, "--trainer.max_epochs", 6
    )
    assert run(*options) == 0
    directory = tmp_path / "runs/r/version_0"
    path = directory / "checkpoints/best.ckpt"
    assert read_checkpoint(path)["hyper_parameters"]["value_range"] == [0, 511]
    assert run("test", "--ckpt_path", directory) == 0
    # a brighter image alone, of which another range would be found
    assert (
        run("predict", "--ckpt_path", directory, "--data.predict", tmp_path / "more", "--trainer.precision", "32-true")
        == 0
    )
    predicted = [json.loads(line) for line in (directory / "predictions.jsonl").read_text().splitlines()]
    assert len(predicted) == 2
    task = Classifier.load_from_checkpoint(path)
    for row in predicted:
        values = np.asarray(Image.open(row["path"])).astype(float)
        pixels = np.floor(values * 256 / 511).astype(np.uint8)
        (answer,) = task.predict([np.repeat(pixels[..., None], 3, -1)])
        assert answer["probability"] == pytest.approx(row["probability"], abs=1e-4)
        assert task.predict([row["path"]])[0]["probability"] == pytest.approx(answer["probability"], abs=1e-6)


def test_a_value_range_that_contradicts_the_checkpoint_is_refused(deep, run, fails, fit_options, tmp_path):
    assert run(*fit_options(deep, tmp_path / "runs", "--trainer.max_epochs", 1)) == 0
    directory = tmp_path / "runs/r/version_0"
    line = fails("test", "--ckpt_path", directory, "--data.value_range", "[0,4095]")
    assert line == "error: data.value_range: (0.0, 4095.0) contradicts the checkpoint's (0.0, 511.0)"
    line = fails("fit", "--ckpt_path", directory, "--trainer.max_epochs", 2, "--data.value_range", "null")
    assert line == "error: data.value_range: None contradicts the checkpoint's [0.0, 511.0]; leave it out"


def test_a_resumed_run_keeps_its_value_range_when_brighter_images_are_added(deep, run, fit_options, tmp_path, caplog):
    caplog.set_level("INFO")
    first = fit_options(deep, tmp_path / "runs", "--trainer.max_epochs", 1)
    assert run(*first) == 0
    directory = tmp_path / "runs/r/version_0"
    for number in range(12, 30):
        Image.fromarray(np.full((12, 12), 4000, np.uint16)).save(deep / f"train/rising/{number}.tif")
    assert run("fit", "--ckpt_path", directory, "--trainer.max_epochs", 2) == 0
    assert read_checkpoint(directory / "checkpoints/last.ckpt")["hyper_parameters"]["value_range"] == [0, 511]
    assert len([line for line in caplog.messages if line.startswith("data.value_range: ")]) == 1
