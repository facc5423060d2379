"""The classifier's loss, metrics and predictions, against formulas written out here."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn import metrics as reference

from project.data.batch import Batch, Mixed
from project.data.images import load_square, to_square
from project.errors import ConfigError, DataError
from project.tasks import Classifier
from project.tasks.classifier import mixed_mean

NAMES = ["a", "b", "c", "d"]


def classifier(**options) -> Classifier:
    torch.manual_seed(0)
    options = {"class_names": NAMES, "image_size": 8, "backbone_options": {"width": 4}} | options
    return Classifier(**options).eval()


def batch(count: int = 20, size: int = 8) -> Batch:
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(256, (count, 3, size, size), dtype=torch.uint8, generator=generator)
    return Batch(images, torch.randint(len(NAMES), (count,), generator=generator), torch.arange(count))


def mixed_batch() -> Batch:
    """Some partners have the same label; shares go from nothing to all."""
    data, generator = batch(), torch.Generator().manual_seed(2)
    return data._replace(mixed=Mixed(torch.randint(4, (20,), generator=generator), torch.linspace(0, 1, 20)))


def soft_targets(data: Batch) -> np.ndarray:
    share = data.mixed.share.double().numpy()[:, None]
    return np.eye(4)[data.labels] * share + np.eye(4)[data.mixed.labels] * (1 - share)


def formula(logits: np.ndarray, labels: np.ndarray, smoothing: float, weights: np.ndarray) -> float:
    """Σ_i Σ_k w_k q_ik (-log p_ik) / Σ_i w_(y_i), q the smoothed target; in float64."""
    logits = logits.astype(np.float64)
    log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    target = np.eye(logits.shape[1])[labels] * (1 - smoothing) + smoothing / logits.shape[1]
    return float(-(weights * target * log_p).sum() / weights[labels].sum())


def split_metrics(task: Classifier, folder, split: str) -> dict[str, float]:
    """What a run should have found on `folder/split`, image by image."""
    files = [(path, label) for label, name in enumerate("abc") for path in sorted((folder / split / name).iterdir())]
    squares = np.stack([load_square(path, task.image_size) for path, _ in files])
    labels = np.array([label for _, label in files])
    with torch.no_grad():
        logits = task(torch.from_numpy(squares).permute(0, 3, 1, 2)).numpy()
    predicted = logits.argmax(1)
    macro = {"average": "macro", "zero_division": 0}
    return {
        "loss": formula(logits, labels, 0.0, np.ones(3)),
        "accuracy": reference.accuracy_score(labels, predicted),
        "precision": reference.precision_score(labels, predicted, **macro),
        "recall": reference.recall_score(labels, predicted, **macro),
        "f1": reference.f1_score(labels, predicted, **macro),
    }


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weights", [None, [1.0, 2.0, 0.5, 4.0]])
def test_loss_equals_the_formula_in_double_precision(smoothing, weights):
    task, data = classifier(label_smoothing=smoothing, class_weights=weights), batch()
    with torch.no_grad():
        loss, logits = task._shared_step(data)
    expected = formula(logits.numpy(), data.labels.numpy(), smoothing, np.array(weights or [1.0] * 4))
    assert loss.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weights", [None, [1.0, 2.0, 0.5, 4.0]])
def test_loss_of_mixed_images_is_cross_entropy_with_soft_targets(smoothing, weights):
    """Σ_i Σ_k w_k q_ik (-log p_ik) / Σ_i Σ_k t_ik w_k, t the mixed one-hot target and q the same smoothed."""
    task, data = classifier(label_smoothing=smoothing, class_weights=weights), mixed_batch()
    with torch.no_grad():
        loss, logits = task._shared_step(data)
    target, w = soft_targets(data), np.array(weights or [1.0] * 4)
    smoothed = target * (1 - smoothing) + smoothing / 4
    logits = logits.double().numpy()
    log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    assert loss.item() == pytest.approx(-(w * smoothed * log_p).sum() / (target @ w).sum(), rel=1e-5)
    with torch.no_grad():
        assert loss.item() != pytest.approx(task._shared_step(data._replace(mixed=None))[0].item(), rel=1e-3)


def test_a_mixed_image_is_right_by_the_share_of_the_label_that_is_guessed():
    data = mixed_batch()
    guesses = torch.randint(4, (20,), generator=torch.Generator().manual_seed(3))
    found = mixed_mean(guesses, data, lambda guess, labels: (guess == labels).float())
    np.testing.assert_allclose(found, soft_targets(data)[np.arange(20), guesses], atol=1e-6)


def test_images_are_normalised_by_the_networks_own_numbers():
    task, data = classifier(mean=[0.1, 0.2, 0.3], std=[0.5, 0.25, 1.0]), batch()
    by_hand = (data.images.double() / 255 - torch.tensor([0.1, 0.2, 0.3]).view(3, 1, 1)) / torch.tensor(
        [0.5, 0.25, 1.0]
    ).view(3, 1, 1)
    with torch.no_grad():
        assert torch.allclose(task(data.images), task.network(by_hand.float()), atol=1e-5)


@pytest.fixture
def unequal(tmp_path, image_tree):
    """A split tree with 4, 8 and 12 training images a class, and as many to validate on."""
    for split in ("train", "val"):
        image_tree(tmp_path / "tree" / split, count=12)
        for name, keep in (("a", 4), ("b", 8)):
            for path in sorted((tmp_path / "tree" / split / name).iterdir())[keep:]:
                path.unlink()
    return tmp_path / "tree"


def test_recorded_validation_metrics_equal_a_computation_by_hand(run, unequal, fit_options, tmp_path):
    assert run(*fit_options(unequal, tmp_path / "runs", "--data.eval_batch_size", 7)) == 0
    directory = tmp_path / "runs/r/version_0"
    with open(directory / "metrics.csv") as file:
        last = list(csv.DictReader(file))[-1]
    expected = split_metrics(Classifier.load_from_checkpoint(directory / "checkpoints/last.ckpt"), unequal, "val")
    assert {name: float(last[f"val/{name}"]) for name in expected} == pytest.approx(expected, rel=1e-4)


def test_balanced_weights_are_inverse_to_the_frequency_with_mean_one(run, unequal, fit_options, tmp_path):
    seen = []

    class Watched(Classifier):
        def training_step(self, batch, batch_idx):
            seen.append(self.loss_weights.clone())
            return super().training_step(batch, batch_idx)

    globals()["Watched"] = Watched
    options = fit_options(unequal, tmp_path / "runs", "--model.class_weights", "balanced", "--trainer.max_epochs", 1)
    options[options.index("Classifier")] = f"{__name__}.Watched"
    assert run(*options) == 0
    assert seen[0].tolist() == pytest.approx([24 / (3 * n) for n in (4, 8, 12)], rel=1e-6)
    assert sum(w * n for w, n in zip(seen[0].tolist(), (4, 8, 12), strict=True)) / 24 == pytest.approx(1, rel=1e-6)


@pytest.mark.parametrize("verb", ["validate", "test", "predict"])
def test_a_checkpoint_with_balanced_weights_is_evaluated_like_any_other(run, unequal, fit_options, tmp_path, verb):
    assert run(*fit_options(unequal, tmp_path / "runs", "--model.class_weights", "balanced")) == 0
    more = ["--data.predict", unequal / "val"] if verb == "predict" else []
    assert run(verb, "--ckpt_path", tmp_path / "runs/r/version_0", *more) == 0


def test_class_weights_by_name_are_those_of_the_labels_and_others_are_one():
    names = ["10", "hot dog", "3"]
    task = Classifier(names, 8, backbone_options={"width": 4}, class_weights={"3": 0.5, "10": 2.0})
    assert task.loss_weights.tolist() == [2.0, 1.0, 0.5]


def test_class_weights_by_name_are_given_on_the_command_line_and_come_back(run, unequal, fit_options, tmp_path):
    options = fit_options(
        unequal, tmp_path / "runs", "--model.class_weights", "{c: 3, a: 0.5}", "--trainer.max_epochs", 1
    )
    assert run(*options) == 0
    directory = tmp_path / "runs/r/version_0"
    assert Classifier.load_from_checkpoint(directory / "checkpoints/best.ckpt").loss_weights.tolist() == [0.5, 1, 3]
    assert run("test", "--ckpt_path", directory) == 0
    assert run("fit", "--ckpt_path", directory, "--trainer.max_epochs", 2) == 0
    assert Classifier.load_from_checkpoint(directory / "checkpoints/last.ckpt").loss_weights.tolist() == [0.5, 1, 3]


def given_as(weights: list[float] | str | None) -> str:
    return weights if isinstance(weights, str) else json.dumps(weights)


@pytest.mark.parametrize("before", [None, [9.0, 9.0, 9.0], "balanced"], ids=str)
@pytest.mark.parametrize("given", [None, [1.0, 5.0, 1.0]], ids=str)
@pytest.mark.parametrize("way", ["resumed", "init_from"])
def test_class_weights_that_are_given_are_not_those_of_a_file(run, unequal, fit_options, tmp_path, before, given, way):
    seen = []

    class Watched(Classifier):
        def training_step(self, batch, batch_idx):
            seen.append(None if self.loss_weights is None else self.loss_weights.tolist())
            return super().training_step(batch, batch_idx)

    globals()["Watched"] = Watched
    first = fit_options(unequal, tmp_path / "runs", "--model.class_weights", given_as(before))
    first[first.index("Classifier")] = f"{__name__}.Watched"
    assert run(*first, "--trainer.max_epochs", 1) == 0
    seen.clear()
    path = tmp_path / "runs/r/version_0/checkpoints/last.ckpt"
    more = ("--ckpt_path", path) if way == "resumed" else ("--model.init_from", path)
    again = [*first, "--model.class_weights", given_as(given), "--trainer.max_epochs", "2", *more]
    assert run(*again) == 0
    assert set(map(str, seen)) == {str(given)}


def test_weighted_evaluation_loss_does_not_depend_on_the_batch_size(run, unequal, fit_options, tmp_path):
    assert run(*fit_options(unequal, tmp_path / "runs", "--model.class_weights", "balanced")) == 0
    directory, losses = tmp_path / "runs/r/version_0", []
    for size in (24, 5):
        options = ("--trainer.precision", "32-true", "--data.eval_batch_size", size)
        assert run("validate", "--ckpt_path", directory, *options) == 0
        losses.append(json.loads((directory / "validate_metrics.json").read_text())["val/loss"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_predict_equals_forward_by_hand():
    task, images = classifier(), batch(9).images
    arrays = [image.permute(1, 2, 0).numpy() for image in images]
    with torch.no_grad():
        logits = task(images).double().numpy()
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    for size in (64, 4):
        answers = task.predict(arrays, batch_size=size)
        for row, answer in zip(p, answers, strict=True):
            order = np.argsort(-row)
            assert answer["label"] == NAMES[order[0]]
            assert answer["probability"] == pytest.approx(row[order[0]], abs=1e-6)
            assert [name for name, _ in answer["top5"]] == [NAMES[k] for k in order]
            assert [value for _, value in answer["top5"]] == pytest.approx(row[order], abs=1e-6)


def shifted(images: np.ndarray, offset: int) -> np.ndarray:
    """(B, 3, S, S), moved by `offset` along both axes into its own mirror image."""
    padded = np.pad(images, ((0, 0), (0, 0), (1, 1), (1, 1)), "reflect")
    size = images.shape[-1]
    return np.ascontiguousarray(padded[..., 1 - offset : 1 - offset + size, 1 - offset : 1 - offset + size])


@pytest.mark.parametrize("tta", ["flip", "flip_shift"])
def test_predict_averages_the_logits_of_the_views(tta):
    task, images = classifier(tta=tta), batch(9).images.numpy()
    weights = {0: 1.0} if tta == "flip" else {0: 0.5, -1: 0.25, 1: 0.25}
    with torch.no_grad():
        logits = sum(
            weight / 2 * task(torch.from_numpy(view)).double().numpy()
            for offset, weight in weights.items()
            for view in (shifted(images, offset), np.ascontiguousarray(shifted(images, offset)[..., ::-1]))
        )
        plain = task(torch.from_numpy(images)).double().numpy()
    for answers, expected in (
        (task.predict(list(images.transpose(0, 2, 3, 1))), logits),
        (classifier().predict(list(images.transpose(0, 2, 3, 1))), plain),
    ):
        p = np.exp(expected) / np.exp(expected).sum(1, keepdims=True)
        assert [answer["label"] for answer in answers] == [NAMES[k] for k in p.argmax(1)]
        assert [answer["probability"] for answer in answers] == pytest.approx(p.max(1), abs=1e-6)
    assert np.abs(logits - plain).max() > 1e-3


def test_probabilities_are_of_logits_divided_by_the_temperature():
    task, images = classifier(tta="flip"), batch(9).images
    arrays = list(images.permute(0, 2, 3, 1).numpy())
    before = [answer["label"] for answer in task.predict(arrays)]
    task.temperature.fill_(0.2)
    with torch.no_grad():
        logits = (task(images) + task(images.flip(-1))).double().numpy() / 2 / 0.2
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    answers = task.predict(arrays)
    assert [answer["label"] for answer in answers] == before
    assert [answer["probability"] for answer in answers] == pytest.approx(p.max(1), abs=1e-6)


def test_a_central_crop_is_what_predict_looks_at(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "p.png")
    inner = Image.fromarray(pixels[12:28, 7:23])  # 16 of the 30 pixels of the shorter side, rounded outwards
    task = classifier(center_crop=16 / 30)
    answers = task.predict([tmp_path / "p.png", pixels, Image.fromarray(pixels)])
    assert answers[0] == answers[1] == answers[2]
    assert answers[0]["probability"] == pytest.approx(
        classifier().predict([to_square(inner, 8)])[0]["probability"], abs=2e-3
    )
    assert answers[0] != classifier().predict([pixels])[0]


@pytest.mark.parametrize("training", [True, False])
def test_predict_uses_evaluation_mode_and_leaves_the_mode(training):
    task = classifier().train(training)
    before = {name: value.clone() for name, value in task.state_dict().items()}
    one = task.predict([np.zeros((8, 8, 3), np.uint8)])
    assert task.training is training
    assert all(torch.equal(value, before[name]) for name, value in task.state_dict().items())
    assert task.eval().predict([np.zeros((8, 8, 3), np.uint8)]) == one


def test_a_path_an_image_and_an_array_give_the_same_also_when_rotated(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90° clockwise
    Image.fromarray(pixels).save(tmp_path / "plain.png")
    Image.fromarray(pixels).save(tmp_path / "turned.png", exif=exif)
    task = classifier()
    by_path, by_array, by_image = task.predict([tmp_path / "plain.png", pixels, Image.open(tmp_path / "plain.png")])
    assert by_path == by_array == by_image
    assert task.predict(str(tmp_path / "plain.png")) == task.predict(Image.open(tmp_path / "plain.png")) == [by_path]
    turned = task.predict([str(tmp_path / "turned.png")])
    assert turned == task.predict([np.ascontiguousarray(np.rot90(pixels, -1))]) != [by_path]
    assert task.predict([Image.open(tmp_path / "turned.png")]) == turned


def test_grey_arrays_and_no_images(tmp_path):
    grey = np.random.default_rng(0).integers(0, 256, (11, 8), dtype=np.uint8)
    assert classifier().predict([grey]) == classifier().predict([np.stack([grey] * 3, 2)])
    assert classifier().predict([]) == []
    assert classifier().predict(grey) == classifier().predict([grey])
    with pytest.raises(DataError, match="absent"):
        classifier().predict([tmp_path / "absent.png"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"label_smoothing": 1.0}, "label_smoothing"),
        ({"label_smoothing": -0.1}, "label_smoothing"),
        ({"class_weights": [1.0, 2.0]}, "class_weights"),
        ({"class_weights": {"dgo": 2.0}}, r"^model\.class_weights: there is no class 'dgo'"),
        ({"class_weights": [1.0, -1.0, 1.0, 1.0]}, r"^model\.class_weights: must be at least 0, finite, and not all 0"),
        ({"class_weights": [0.0] * 4}, "not all 0"),
        ({"std": [1.0, 0.0, 1.0]}, "std"),
        ({"mean": [0.5]}, "mean"),
        ({"backbone": "small_resnett"}, "small_resnet"),
        ({"backbone_options": {"widht": 3}}, "width"),
        ({"class_names": ["a"]}, r"^model.class_names: a classifier needs two classes or more; got \['a'\]$"),
        ({"class_names": []}, "two classes or more"),
        ({"weights": "DEFAULT", "init_from": "w.pt"}, "^model.weights, model.init_from: .* give one of them$"),
        ({"sam": -0.1}, "^model.sam: must be at least 0"),
    ],
)
def test_options_that_cannot_be_are_config_errors(options, message):
    with pytest.raises(ConfigError, match=message):
        classifier(**options)
