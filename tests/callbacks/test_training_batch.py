"""The first batch on the page, against the batch that the loader gives."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from project.analysis.figures import image_figure
from project.analysis.style import to_pixels
from project.data.batch import Batch
from project.tasks import Classifier


def picture(found) -> np.ndarray:
    (event,) = found.Images("images/training_batch")
    assert event.step == 0
    return np.asarray(Image.open(io.BytesIO(event.encoded_image_string)).convert("RGB"))


@pytest.fixture
def given(monkeypatch) -> list[Batch]:
    """The batches that the network is given."""
    batches: list[Batch] = []
    step = Classifier.training_step
    monkeypatch.setattr(
        Classifier, "training_step", lambda self, batch, index: batches.append(batch) or step(self, batch, index)
    )
    return batches


TITLE = "First training batch, as the network sees it"


def test_it_is_the_augmented_batch_with_its_labels(run, images, fit_options, tmp_path, shown, given):
    options = ("--data.augment.shift", 2, "--data.augment.erase", 1, "--watch.pictures", 1e-9)
    assert run(*fit_options(images, tmp_path / "runs", "--watch.pictures", 1, *options)) == 0
    labels = ["abc"[label] for label in given[0].labels.tolist()]
    found = picture(shown(tmp_path / "runs/r/version_0"))
    assert np.array_equal(found, to_pixels(image_figure(given[0].images, labels, TITLE)))
    files = {np.array(Image.open(path)).tobytes() for path in images.rglob("*.png")}
    assert not files & {image.permute(1, 2, 0).numpy().tobytes() for image in given[0].images}


def test_mixed_images_have_both_labels(run, images, fit_options, tmp_path, shown, given):
    assert run(*fit_options(images, tmp_path / "runs", "--data.augment.mixup", 1, "--watch.pictures", 1)) == 0
    batch = given[0]
    rows = zip(batch.labels.tolist(), batch.mixed.labels.tolist(), batch.mixed.share.tolist(), strict=True)
    labels = [f"{share:.2f} {'abc'[one]}\n{1 - share:.2f} {'abc'[two]}" for one, two, share in rows]
    found = picture(shown(tmp_path / "runs/r/version_0"))
    assert np.array_equal(found, to_pixels(image_figure(batch.images, labels, TITLE)))


def test_captions_stand_below_their_images(run, captioned, caption_options, tmp_path, shown, monkeypatch):
    from project.analysis import figures

    asked = []
    draw = figures.image_figure
    monkeypatch.setattr(figures, "image_figure", lambda *given: asked.append(given) or draw(*given))
    assert run(*caption_options(captioned, tmp_path / "runs", "--watch.pictures", 1)) == 0
    ((images, labels, _),) = asked
    colours = {"red": 0, "green": 1, "blue": 2}
    for image, label in zip(images, labels, strict=True):
        middle = image.float().amax((1, 2))
        word = next((name for name in colours if name in label.split()), None)
        if word:
            assert middle.argmax() == colours[word]
        assert all(len(line) <= 18 for line in label.split("\n"))


def test_features_are_no_images(run, captioned, caption_options, tmp_path, shown):
    options = ("--data.cache_features", True, "--model.fine_tuning.frozen", "all")
    assert run(*caption_options(captioned, tmp_path / "runs", "--watch.pictures", 1, *options)) == 0
    assert "images/training_batch" not in shown(tmp_path / "runs/c/version_0").Tags()["images"]
