"""Pretrained weights on the command line: fine-tuned, measured as they are, and never asked for again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.models import ShuffleNet_V2_X0_5_Weights, shufflenet_v2_x0_5

from project.data import ImageDataModule
from project.data.samples import Samples
from project.runs.checkpoints import read_checkpoint

SIZE, NETWORK = 32, "shufflenet_v2_x0_5"
MODEL = ("--model", "Classifier", "--model.backbone", NETWORK, "--model.weights", "IMAGENET1K_V1")


class Thousand(ImageDataModule):
    """Twelve images of noise with labels among ImageNet's thousand."""

    @property
    def class_names(self) -> list[str]:
        return [f"n{i:08}" for i in range(1000)]

    def load_splits(self) -> dict:
        pixels = np.random.default_rng(0).integers(0, 256, (12, SIZE, SIZE, 3), np.uint8)
        samples = Samples(pixels, np.arange(12) * 80, "train")
        return {split: Samples(samples.images, samples.labels, split) for split in ("train", "val", "test")}


class Numbered(Thousand):
    """The same with numbers for names, sorted as texts."""

    @property
    def class_names(self) -> list[str]:
        return sorted(map(str, range(1000)))


@pytest.fixture(autouse=True)
def weights(tmp_path, monkeypatch) -> dict[str, torch.Tensor]:
    """What torchvision would download lies in its cache."""
    torch.manual_seed(3)
    state = shufflenet_v2_x0_5().state_dict()
    path = tmp_path / "torch" / "hub" / "checkpoints" / Path(ShuffleNet_V2_X0_5_Weights.IMAGENET1K_V1.url).name
    path.parent.mkdir(parents=True)
    torch.save(state, path)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return state


def test_a_network_whose_classes_fit_is_measured_without_a_checkpoint(run, weights, tmp_path):
    options = ("--data", f"{__name__}.Thousand", "--trainer.default_root_dir", tmp_path / "runs", "--name", "r")
    more = ("--model.backbone_options", '{"stem": "imagenet"}', "--trainer.precision", "32-true")
    assert run("test", *MODEL, *more, *options, "--trainer.accelerator", "cpu") == 0
    found = json.loads((tmp_path / "runs/r/version_0/test_metrics.json").read_text())
    theirs = shufflenet_v2_x0_5()
    theirs.load_state_dict(weights)
    samples = Thousand().load_splits()["test"]
    mean, std = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1), torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    with torch.no_grad():
        logits = theirs.eval()((torch.from_numpy(samples.images).permute(0, 3, 1, 2) / 255 - mean) / std)
    loss = torch.nn.functional.cross_entropy(logits.double(), torch.from_numpy(samples.labels))
    assert found["test/loss"] == pytest.approx(loss.item(), rel=1e-4)
    assert found["test/nll"] == pytest.approx(loss.item(), rel=1e-4)


@pytest.mark.parametrize(("data", "hinted"), [("Thousand", False), ("Numbered", True)])
def test_classes_that_are_numbers_sorted_as_texts_are_told_beside_pretrained_ones(run, tmp_path, caplog, data, hinted):
    caplog.set_level("INFO")
    options = (
        "--data",
        f"{__name__}.{data}",
        "--trainer.default_root_dir",
        tmp_path / "runs",
        "--trainer.accelerator",
        "cpu",
    )
    assert run("test", *MODEL, *options) == 0
    hint = "the data are numbers sorted as texts, '109' before '11'; sort them by value with --data.class_order natural"
    assert (hint in caplog.text) == hinted


def test_a_network_of_other_classes_is_refused_where_it_has_not_been_trained(fails, images, tmp_path):
    options = ("--data", "ImageFolder", "--data.root", images, "--trainer.default_root_dir", tmp_path / "runs")
    line = fails("test", *MODEL, *options)
    assert line == (
        "error: model.weights: IMAGENET1K_V1 does not know these 3 classes; train on them first, or give a checkpoint "
        "with --ckpt_path"
    )
    assert not list((tmp_path / "runs").rglob("*.*")), "nothing is left behind"


def test_predicting_needs_a_checkpoint(fails, images):
    assert "ckpt_path: predict needs trained weights" in fails("predict", *MODEL, "--data.predict", images)


def test_a_run_from_weights_needs_them_once(run, images, fit_options, weights, tmp_path, caplog):
    options = fit_options(images, tmp_path / "runs", "--model.backbone", NETWORK, "--model.weights", "DEFAULT",
                          "--model.fine_tuning.frozen", "[stem, stage2]", "--model.backbone_options", "null")  # fmt: skip
    assert run(*options, "--trainer.max_epochs", 1) == 0
    text = caplog.text
    assert text.count("ShuffleNet_V2_X0_5_Weights.IMAGENET1K_V1 loaded") == 1
    assert text.count("at 12 px its stem is 3×3") == 1
    directory = tmp_path / "runs/r/version_0"
    state = read_checkpoint(directory / "checkpoints/last.ckpt")["state_dict"]
    # what was frozen is what was loaded
    frozen = state["network.stages.stage2.0.branch2.0.weight"]
    assert torch.equal(frozen, weights["stage2.0.branch2.0.weight"])
    assert not torch.equal(state["network.stages.stage4.1.branch2.0.weight"], weights["stage4.1.branch2.0.weight"])

    shutil.rmtree(tmp_path / "torch")  # gone: nothing below may ask for them
    assert run("fit", "--ckpt_path", directory, "--trainer.max_epochs", 2) == 0
    assert run("test", "--ckpt_path", directory) == 0
    assert run(*["test" if option == "fit" else option for option in options], "--ckpt_path", directory) == 0
    assert run("predict", "--ckpt_path", directory, "--data.predict", images) == 0
    assert not (tmp_path / "torch").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ("--model.weights", "IMAGENET1K_V9"),
            "model.weights: there is no 'IMAGENET1K_V9' for shufflenet_v2_x0_5; did you mean",
        ),
        (("--model.backbone_options.stem", "tiny"), "model.backbone_options.stem: 'auto', 'small' or 'imagenet'"),
        (("--model.fine_tuning.frozen", "[stage9]"), "model.fine_tuning.frozen: the network has no part 'stage9'; did"),
        (("--model.backbone", "resnet20"), "model.weights: resnet20 has no pretrained weights"),
    ],
)
def test_what_there_is_not_is_one_line(fails, images, fit_options, tmp_path, options, message):
    more = ("--model.backbone", NETWORK, "--model.weights", "DEFAULT", "--model.backbone_options", "null")
    assert message in fails(*fit_options(images, tmp_path / "runs", *more, *options))
    assert not list((tmp_path / "runs").rglob("*.*"))
