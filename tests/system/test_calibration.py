"""The temperature of a fit, and what is measured and predicted with it, against scipy and sums written out here."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.optimize import minimize_scalar

from project.cli import main
from project.data import ImageFolder
from project.data.images import load_square
from project.runs.checkpoints import read_checkpoint
from project.tasks import Classifier

PLAIN = ("--trainer.precision", "32-true", "--trainer.accelerator", "cpu")


def noisy_tree(folder: Path, wrong: int) -> Path:
    """Three classes of 60 grey images by brightness, one of `wrong` in another's folder: no network gets all right."""
    random = np.random.default_rng(0)
    for label, name in enumerate("abc"):
        (folder / name).mkdir(parents=True)
        for i in range(60):
            shown = (label + (i % wrong == 0)) % 3
            image = random.integers(0, 60, (12, 12, 3)) + 95 * shown
            Image.fromarray(image.astype(np.uint8)).save(folder / name / f"{i:02}.png")
    return folder


@pytest.fixture(scope="module")
def once(tmp_path_factory, fit_options):
    folder = tmp_path_factory.mktemp("calibration")
    images = noisy_tree(folder / "images", 4)
    more = (
        "--data.val_fraction",
        0.3,
        "--data.test_fraction",
        0.3,
        "--data.eval_batch_size",
        7,
        "--trainer.max_epochs",
        4,
    )
    main(
        [
            *fit_options(images, folder / "runs", "--data.cache_dir", folder / "cache", *map(str, more)),
            "--progress",
            "none",
        ]
    )
    return images, folder / "runs" / "r" / "version_0"


@pytest.fixture
def images(once) -> Path:
    return once[0]


@pytest.fixture
def directory(once, tmp_path) -> Path:
    """The finished run, the test's own copy."""
    return Path(shutil.copytree(once[1], tmp_path / "runs" / "r" / "version_0"))


def logits_of(directory: Path, images: Path, split: str, which: str = "last") -> tuple[np.ndarray, np.ndarray]:
    """The network's own, (N, 3) float64, and the labels."""
    task = Classifier.load_from_checkpoint(directory / "checkpoints" / f"{which}.ckpt")
    samples = ImageFolder(str(images), image_size=12, val_fraction=0.3, test_fraction=0.3).splits[split]
    squares = np.stack([load_square(path, 12) for path in samples.images])
    with torch.no_grad():
        return task(torch.from_numpy(squares).permute(0, 3, 1, 2)).double().numpy(), samples.labels


def log_p(logits: np.ndarray, temperature: float) -> np.ndarray:
    scaled = logits / temperature
    scaled = scaled - scaled.max(1, keepdims=True)
    return scaled - np.log(np.exp(scaled).sum(1, keepdims=True))


def nll(logits: np.ndarray, labels: np.ndarray, temperature: float) -> float:
    return float(-log_p(logits, temperature)[np.arange(len(labels)), labels].mean())


def ece(logits: np.ndarray, labels: np.ndarray, temperature: float) -> float:
    p = np.exp(log_p(logits, temperature))
    confidence, right, error = p.max(1), p.argmax(1) == labels, 0.0
    for k in range(15):
        inside = (confidence >= k / 15) & ((confidence < (k + 1) / 15) | (k == 14))
        if inside.any():
            error += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    return float(error)


def brier(logits: np.ndarray, labels: np.ndarray, temperature: float) -> float:
    return float(((np.exp(log_p(logits, temperature)) - np.eye(3)[labels]) ** 2).sum(1).mean())


def rows(directory: Path) -> list[dict[str, str]]:
    with open(directory / "metrics.csv") as file:
        return list(csv.DictReader(file))


def metrics(directory: Path, verb: str) -> dict[str, float]:
    return json.loads((directory / f"{verb}_metrics_last.json").read_text())


@pytest.mark.parametrize("which", ["best", "last"])
def test_the_temperature_is_the_best_one_on_the_validation_split(directory, images, which):
    checkpoint = read_checkpoint(directory / "checkpoints" / f"{which}.ckpt")
    logits, labels = logits_of(directory, images, "val", which)
    best = minimize_scalar(
        lambda log_t: len(labels) * nll(logits, labels, np.exp(log_t)) + log_t**2 / 2, bounds=(np.log(0.05), np.log(20)), method="bounded",
        options={"xatol": 1e-9},
    )  # fmt: skip
    expected = float(np.exp(best.x))
    found = checkpoint["state_dict"]["temperature"].item()
    assert 0.06 < expected < 19  # inside, or it would prove little
    assert abs(expected - 1) > 0.01
    assert found == pytest.approx(expected, rel=1e-3)
    row = next(row for row in rows(directory) if int(row["step"]) == checkpoint["global_step"] - 1)
    assert float(row["val/temperature"]) == pytest.approx(found, rel=1e-6)
    assert float(row["val/ece_uncalibrated"]) == pytest.approx(ece(logits, labels, 1.0), rel=1e-4)
    assert "val/ece" not in row  # of the split that the temperature was found on


def test_a_network_that_is_always_right_is_not_sure_of_everything(run, fit_options, tmp_path):
    images = noisy_tree(tmp_path / "images", 1000)
    for path in images.glob("*/00.png"):
        path.unlink()  # the only ones in another's folder
    assert run(*fit_options(images, tmp_path / "runs", "--trainer.max_epochs", 6)) == 0
    directory = tmp_path / "runs" / "r" / "version_0"
    assert float(rows(directory)[-1]["val/accuracy"]) == 1
    found = read_checkpoint(directory / "checkpoints" / "last.ckpt")["state_dict"]["temperature"]
    assert 0.1 < found.item() < 1  # the likelihood alone has no maximum


@pytest.mark.parametrize(("verb", "split"), [("test", "test"), ("validate", "val")])
def test_evaluation_measures_calibrated_probabilities(run, directory, images, verb, split):
    path = directory / "checkpoints" / "last.ckpt"
    assert run(verb, "--ckpt_path", path, *PLAIN) == 0
    logits, labels = logits_of(directory, images, split)
    temperature = read_checkpoint(path)["state_dict"]["temperature"].item()
    stage = "test" if verb == "test" else "val"
    expected = {
        "ece": ece(logits, labels, temperature),
        "nll": nll(logits, labels, temperature),
        "brier": brier(logits, labels, temperature),
        "ece_uncalibrated": ece(logits, labels, 1.0),
        "loss": nll(logits, labels, 1.0),
        "accuracy": float((logits.argmax(1) == labels).mean()),
    }
    found = metrics(directory, verb)
    assert {name: found[f"{stage}/{name}"] for name in expected} == pytest.approx(expected, rel=1e-4)
    assert expected["ece"] != pytest.approx(expected["ece_uncalibrated"], rel=1e-2)
    assert f"{stage}/temperature" not in found  # it is not looked for here
    assert read_checkpoint(path)["state_dict"]["temperature"].item() == temperature


def test_predictions_are_calibrated_and_their_labels_as_they_were(run, directory, images):
    path = directory / "checkpoints" / "last.ckpt"
    task = Classifier.load_from_checkpoint(path)
    assert run("predict", "--ckpt_path", path, "--data.predict", images / "b", *PLAIN) == 0
    lines = [json.loads(line) for line in (directory / "predictions.jsonl").read_text().splitlines()]
    squares = torch.from_numpy(np.stack([load_square(file, 12) for file in sorted((images / "b").iterdir())]))
    with torch.no_grad():
        logits = task(squares.permute(0, 3, 1, 2)).double().numpy()
    p = np.exp(log_p(logits, task.temperature.item()))
    assert [line["probability"] for line in lines] == pytest.approx(p.max(1), abs=1e-5)
    assert [line["label"] for line in lines] == ["abc"[k] for k in logits.argmax(1)]
    assert np.abs(p.max(1) - np.exp(log_p(logits, 1.0)).max(1)).max() > 0.005


def test_a_checkpoint_of_before_there_was_a_temperature_has_one(run, directory, images):
    path = directory / "checkpoints" / "last.ckpt"
    checkpoint = read_checkpoint(path)
    del checkpoint["state_dict"]["temperature"]
    torch.save(checkpoint, path)
    assert Classifier.load_from_checkpoint(path).temperature.item() == 1
    assert run("test", "--ckpt_path", path, *PLAIN) == 0
    found = metrics(directory, "test")
    logits, labels = logits_of(directory, images, "test")
    assert found["test/ece"] == found["test/ece_uncalibrated"] == pytest.approx(ece(logits, labels, 1.0), rel=1e-4)
    assert found["test/nll"] == pytest.approx(found["test/loss"], rel=1e-6)
    # and training goes on from it
    assert run("fit", "--ckpt_path", path, "--trainer.max_epochs", 5) == 0
    assert read_checkpoint(path)["state_dict"]["temperature"].item() != 1
