"""Which images are shown of a classifier, against sorting all of them, and that they get to TensorBoard."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import confusion_matrix

from project.analysis.figures import class_figure, confusion_figure, image_figure, reliability_figure
from project.analysis.style import to_pixels
from project.callbacks.classifier_pictures import _COUNT, _Highest
from project.data import ImageFolder
from project.metrics.calibration import CalibrationError
from project.tasks import Classifier


@pytest.mark.parametrize("batch", [1, 7, 300])
def test_the_highest_of_all_batches_are_kept(batch):
    torch.manual_seed(0)
    scores, images = torch.randn(300), torch.randint(0, 255, (300, 3, 2, 2), dtype=torch.uint8)
    kept = _Highest()
    for some, their in zip(scores.split(batch), images.split(batch), strict=True):
        kept.add(some, their)
    order = scores.argsort(descending=True)[:_COUNT]
    assert torch.equal(kept.columns[0], scores[order])
    assert torch.equal(kept.columns[1], images[order])


def pixels(event) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(event.encoded_image_string)).convert("RGB"))


def test_what_is_shown_is_what_the_last_network_says(watched):
    """Against figures made here of the last checkpoint's own answers; validation was in two batches."""
    samples = ImageFolder(str(watched.images), image_size=12).splits["val"]
    network = Classifier.load_from_checkpoint(watched.path / "checkpoints/last.ckpt")
    images = torch.stack([torch.from_numpy(np.array(Image.open(path))) for path in samples.images]).permute(0, 3, 1, 2)
    labels = torch.as_tensor(samples.labels)
    with torch.inference_mode():
        probabilities = torch.cat([network(batch).softmax(1) for batch in images.split(4)])
    confidence, guess = probabilities.max(1)
    of_label = probabilities[torch.arange(len(labels)), labels]
    confusion = torch.from_numpy(confusion_matrix(labels, guess, labels=range(3)))
    error = CalibrationError()
    error.update(probabilities, labels)

    def grid(order, title):
        texts = [
            f"is {'abc'[labels[i]]}: {of_label[i]:.2f}\nsaid {'abc'[guess[i]]}: {confidence[i]:.2f}"
            for i in order.tolist()
        ]
        return image_figure(images[order], texts, title)

    sure = confidence.argsort(descending=True)
    expected = {
        "figures/confusion": confusion_figure(confusion, ["a", "b", "c"]),
        "figures/class_accuracy": class_figure(confusion.diagonal() / confusion.sum(1), ["a", "b", "c"]),
        "figures/reliability": reliability_figure(error.bins()),
        "images/unlikely": grid(of_label.argsort(), "Least probability of their own class"),
        "images/mistakes": grid(sure[guess[sure] != labels[sure]], "Most confident mistakes"),
    }
    assert (guess != labels).any()
    assert set(watched.events.Tags()["images"]) == {*expected, "images/training_batch"}
    for tag, figure in expected.items():
        events = watched.events.Images(tag)
        assert [event.step for event in events] == [2, 5]
        assert np.array_equal(pixels(events[-1]), to_pixels(figure)), tag


def test_a_captioner_has_none(run, captioned, caption_options, tmp_path, shown):
    assert run(*caption_options(captioned, tmp_path / "runs")) == 0
    tags = shown(tmp_path / "runs/c/version_0").Tags()
    assert not [tag for tag in tags["images"] if tag.startswith("figures/")]
    assert not [tag for tag in tags["tensors"] if tag.startswith("precision_recall/")]
