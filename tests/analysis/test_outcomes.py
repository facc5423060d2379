"""What a classifier says of a split, beside what it says of each image alone."""

from __future__ import annotations

import json

import pytest
import torch

from project.analysis.outcomes import Outcomes, collect_outcomes, existing_split
from project.data import Digits, ImageFolder
from project.data.images import load_square
from project.tasks import Classifier


@pytest.fixture
def classifier(trained):
    return Classifier.load_from_checkpoint(trained / "checkpoints" / "best.ckpt")


def test_it_is_what_the_network_says_of_each_image(classifier, trained_images):
    data = ImageFolder(root=str(trained_images), image_size=12, eval_batch_size=4)
    outcomes = collect_outcomes(classifier, data)
    assert outcomes.split == "test"
    assert outcomes.class_names == ["a", "b", "c"]
    assert len(outcomes) == len(data.splits["test"]) == 6
    for row, name in enumerate(outcomes.names):
        square = torch.tensor(load_square(name, 12, 1.0)).permute(2, 0, 1)[None]
        with torch.no_grad():
            torch.testing.assert_close(outcomes.logits[row], classifier(square)[0], atol=1e-5, rtol=1e-5)
            torch.testing.assert_close(
                outcomes.probabilities[row], classifier.probabilities(square)[0], atol=1e-5, rtol=1e-5
            )
        assert outcomes.class_names[outcomes.labels[row]] == name.split("/")[-2]


def test_streamed_and_resident_are_the_same(classifier, trained_images):
    found = [
        collect_outcomes(
            classifier, ImageFolder(root=str(trained_images), image_size=12, storage=storage, num_workers=0), "val"
        )
        for storage in ("stream", "resident")
    ]
    torch.testing.assert_close(found[0].logits, found[1].logits, atol=1e-5, rtol=1e-5)
    assert found[0].names == found[1].names


def test_its_accuracy_is_that_of_the_command(run, trained, trained_images):
    assert run("test", "--ckpt_path", trained, "--data.root", trained_images) == 0
    classifier = Classifier.load_from_checkpoint(trained / "checkpoints" / "best.ckpt")
    outcomes = collect_outcomes(classifier, ImageFolder(root=str(trained_images), image_size=12))
    expected = json.loads((trained / "test_metrics.json").read_text())
    assert outcomes.correct.double().mean().item() == pytest.approx(expected["test/accuracy"])
    loss = torch.nn.functional.nll_loss(outcomes.probabilities.log(), outcomes.labels).item()
    assert loss == pytest.approx(expected["test/nll"], rel=1e-4)


def test_mistakes_come_by_confidence():
    logits = torch.tensor([[2.0, 0.0], [0.0, 3.0], [1.0, 0.0], [0.0, 9.0]])
    outcomes = Outcomes("test", ["a", "b"], logits, torch.tensor([1, 0, 0, 1]), torch.arange(4), list("wxyz"), 2.0)
    assert outcomes.mistakes().tolist() == [1, 0]
    assert outcomes.confidence[1].item() == pytest.approx(1 / (1 + torch.tensor(-1.5).exp().item()))


def test_views_are_averaged_as_in_the_test():
    torch.manual_seed(0)
    options = {"backbone_options": {"width": 4}}
    data = Digits(image_size=8)
    plain = Classifier(data.class_names, 8, **options).eval()
    flipping = Classifier(data.class_names, 8, tta="flip", **options).eval()
    flipping.load_state_dict(plain.state_dict())
    images = next(data.batches_in_order("val", torch.device("cpu"))).images
    with torch.no_grad():
        mean = (plain(images) + plain(images.flip(-1))) / 2
    torch.testing.assert_close(collect_outcomes(flipping, data, "val").logits, mean, atol=1e-5, rtol=1e-5)


def test_a_set_without_test_images_has_its_validation_split_in_their_place(image_tree, tmp_path):
    image_tree(tmp_path / "train")
    data = ImageFolder(root=str(tmp_path), image_size=12)
    assert existing_split(data, "test") == "val"
    assert existing_split(Digits(), "test") == "test"
