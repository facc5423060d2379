"""Two processes that are stopped, by a signal or by a number that is not finite, stop together and go on exactly."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from PIL import Image

from project.cli import main
from project.runs.checkpoints import read_checkpoint
from tests.system.ranks import ROOT, TWO, everything, launch, run_ranks

pytestmark = pytest.mark.slow

RESUME = ("--ckpt_path", "last", "--trainer.callbacks", "null")  # the checkpoint remembers who stopped the run
CLASSIFIER = (
    "--model.backbone", "ranks_net", "--model.backbone_options", "{}", "--data.batch_size", 5, "--data.eval_batch_size", 2,
    "--data.storage", "stream", "--data.augment.flip", "true", "--data.augment.crop", 2, "--data.augment.mixup", 0.2,
    "--ema.decay", 0.9,
)  # fmt: skip
AVERAGED = (*CLASSIFIER[:-2], "--model", "Distiller", "--model.teacher", "ema", "--model.label_weight", 1.0)
CAPTIONER = (
    "--model.backbone", "ranks_net", "--model.backbone_options", "{}", "--model.decoder.dropout", 0.5,
    "--model.scheduled_sampling", '{"probability": 0.5, "epochs": 2}', "--data.captions_per_image", 1,
    "--data.batch_size", 2, "--data.eval_batch_size", 2, "--data.augment.flip", "true",
)  # fmt: skip


@pytest.fixture(scope="module")
def images(tmp_path_factory, image_tree) -> Path:
    """51, 6 and 9 images: the shares of two processes differ."""
    folder = tmp_path_factory.mktemp("two") / "images"
    for split, count in (("train", 17), ("val", 3), ("test", 3)):
        image_tree(folder / split, count)
    for label in "ab":
        (folder / "val" / label / "00.png").unlink()
    (folder / "val" / "c" / "01.png").unlink()
    return folder


def signal_at(step: int, ranks: list[int], validating: bool = False) -> tuple[str, str]:
    options = {"step": step, "ranks": ranks, "validating": validating}
    return "--trainer.callbacks", json.dumps([{"class_path": "tests.system.ranks.SignalAt", "init_args": options}])


class Wholes:
    """The runs that nothing stopped, each made when it is first asked for."""

    def __init__(self, folder: Path, options: dict[str, Any]) -> None:
        self.folder, self.options = folder, options

    def fit(self, task: str, root: Path, *more: object) -> list[object]:
        return [*self.options[task](root, "--trainer.log_every_n_steps", 1, *more), *TWO, "--name", "r"]

    def run(self, task: str) -> Path:
        root = self.folder / task
        if not root.exists():
            root.mkdir()
            statuses, outputs = run_ranks(self.fit(task, root), root)
            assert statuses == [0, 0], "\n".join(outputs)
        return root / "r" / "version_0"


@pytest.fixture(scope="module")
def wholes(tmp_path_factory, images, captioned, fit_options, caption_options) -> Wholes:
    return Wholes(
        tmp_path_factory.mktemp("wholes"),
        {
            "classifier": lambda root, *more: fit_options(images, root, *CLASSIFIER, *more),
            "averaged": lambda root, *more: fit_options(images, root, *AVERAGED, *more),
            "captioner": lambda root, *more: caption_options(captioned, root, *CAPTIONER, *more),
        },
    )


def assert_goes_on(wholes: Wholes, task: str, root: Path, *more: object) -> None:
    statuses, outputs = run_ranks(wholes.fit(task, root, *more, *RESUME), root)
    assert statuses == [0, 0], "\n".join(outputs)
    found, expected = everything(root / "r" / "version_0"), everything(wholes.run(task))
    assert found.keys() == expected.keys()
    assert [name for name, value in expected.items() if found[name] != value] == []
    assert [path.name for path in (root / "r").iterdir()] == ["version_0"]


# six steps an epoch; three and two batches of validation
@pytest.mark.parametrize(
    ("task", "step", "ranks", "validating"),
    [
        ("classifier", 3, [0], False),
        ("classifier", 8, [1], False),  # who does not save
        ("classifier", 5, [0, 1], False),  # the last of an epoch: validation begins
        ("classifier", 6, [1], True),
        ("averaged", 8, [1], False),
        ("averaged", 6, [0], True),
        ("captioner", 4, [1], False),
        ("captioner", 9, [0, 1], False),
        ("captioner", 6, [0], True),
    ],
)
def test_a_signal_to_either_stops_both_and_the_run_goes_on_exactly(wholes, tmp_path, task, step, ranks, validating):
    statuses, outputs = run_ranks(wholes.fit(task, tmp_path, *signal_at(step, ranks, validating)), tmp_path)
    assert statuses == [143, 0], "\n".join(outputs)  # the first process's is the run's
    directory = tmp_path / "r" / "version_0"
    assert read_checkpoint(directory / "checkpoints" / "last.ckpt")["global_step"] in (step, step + 1)
    assert json.loads((directory / "status.json").read_text()) == {"status": "interrupted"}
    assert_goes_on(wholes, task, tmp_path)


def test_a_signal_to_the_process_that_started_the_other(wholes, tmp_path):
    status, output = launch(wholes.fit("classifier", tmp_path, *signal_at(8, [0])), tmp_path)
    assert status == 143, output
    assert "Traceback" not in output
    assert_goes_on(wholes, "classifier", tmp_path)


def test_a_signal_within_accumulated_batches_waits_for_the_update(wholes, tmp_path):
    more = ("--trainer.accumulate_grad_batches", 2, "--trainer.max_epochs", 3)
    (tmp_path / "whole").mkdir()
    assert run_ranks(wholes.fit("classifier", tmp_path / "whole", *more), tmp_path)[0] == [0, 0]
    assert run_ranks(wholes.fit("classifier", tmp_path, *more, *signal_at(4, [1])), tmp_path)[0] == [143, 0]
    directory = tmp_path / "r" / "version_0"
    assert read_checkpoint(directory / "checkpoints" / "last.ckpt")["global_step"] == 5
    assert run_ranks(wholes.fit("classifier", tmp_path, *more, *RESUME), tmp_path)[0] == [0, 0]
    assert everything(directory) == everything(tmp_path / "whole" / "r" / "version_0")


@pytest.mark.parametrize("verb", ["test", "predict"])
def test_a_signal_to_one_stops_a_measurement(wholes, images, tmp_path, verb):
    more = {"test": (), "predict": ("--data.predict", images)}[verb]
    callback = ("--trainer.callbacks", '[{"class_path": "tests.system.ranks.SignalInEvaluation"}]')
    where = ("--trainer.default_root_dir", tmp_path / "runs", "--name", "m", "--data.eval_batch_size", 1, *TWO)
    path = wholes.run("classifier")
    statuses, outputs = run_ranks([verb, "--ckpt_path", path, *more, *where, *callback], tmp_path)
    assert statuses == [143, 0], "\n".join(outputs)
    assert not list(tmp_path.rglob("*metrics.json")) + list(tmp_path.rglob("*.jsonl*"))


# ---- one of them has a bad batch


@pytest.fixture
def white(images, image_tree, tmp_path) -> Path:
    """A set with one white training image, at which `ranks_net` divides by zero."""
    for split, count in (("train", 17), ("val", 2), ("test", 1)):
        image_tree(tmp_path / "images" / split, count)
    path = tmp_path / "images" / "train" / "b" / "07.png"
    Image.new("RGB", (12, 12), "white").save(path)
    return path


@pytest.fixture
def trapped(white, fit_options, tmp_path):
    def options(*more: object) -> list[object]:
        net = ("--model.backbone", "ranks_net", "--model.backbone_options", '{"trap": true}')
        steps = ("--data.batch_size", 5, "--data.eval_batch_size", 2, "--trainer.log_every_n_steps", 1)
        return [*fit_options(tmp_path / "images", tmp_path / "runs", *net, *steps, *more), *TWO]

    return options


def test_a_bad_batch_of_one_stops_both_before_the_update(trapped, white, tmp_path):
    statuses, outputs = run_ranks(trapped(), tmp_path)
    assert statuses == [1, 0], "\n".join(outputs)
    (line,) = [line for output in outputs for line in output.splitlines() if line.startswith("error: ")]
    assert f"the loss is not finite, first in network.stages.only.0, of {white}. Nothing was updated; " in line
    directory = tmp_path / "runs" / "r" / "version_0"
    batch = torch.load(directory / "checkpoints" / "nonfinite_batch.pt", weights_only=True)
    assert (batch["images"] == 255).flatten(1).all(1).sum() == 1  # whichever process had it
    last = read_checkpoint(directory / "checkpoints" / "last.ckpt")
    assert all(value.isfinite().all() for value in last["state_dict"].values())
    assert json.loads((directory / "status.json").read_text()) == {"status": "failed"}


def test_both_leave_out_the_update_of_a_bad_batch(trapped, tmp_path):
    statuses, outputs = run_ranks(trapped("--guard.skip", 2), tmp_path)
    assert statuses == [0, 0], "\n".join(outputs)
    whole = everything(tmp_path / "runs" / "r" / "version_0")
    rows = whole["metrics.csv"]
    assert [row["train/skipped_updates"] for row in rows if row["train/skipped_updates"]] == ["1.0", "2.0"]
    # and a run that stopped at the first goes on as one that was allowed to pass it
    assert run_ranks(trapped("--name", "cut"), tmp_path)[0] == [1, 0]
    resumed = ("--name", "cut", "--guard.skip", 2, "--ckpt_path", "last")
    assert run_ranks(trapped(*resumed), tmp_path)[0] == [0, 0]
    assert everything(tmp_path / "runs" / "cut" / "version_0") == whole


# ---- what is configured


def test_the_overlay_of_sharded_training_parses(capsys):
    overlay = ROOT / "configs" / "trainer" / "fsdp.yaml"
    with pytest.raises(SystemExit) as stop:
        main(
            [
                "fit",
                "--config",
                str(ROOT / "configs/classifier/digits.yaml"),
                "--config",
                str(overlay),
                "--print_config",
            ]
        )
    assert not stop.value.code
    expected = yaml.safe_load(overlay.read_text())["trainer"]
    assert yaml.safe_load(capsys.readouterr().out)["trainer"].items() >= expected.items()
