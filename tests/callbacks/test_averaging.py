"""The average of the weights against one computed in float64 from the raw weights of each step."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.strategies import FSDPStrategy

from project.callbacks.averaging import AveragingOptions, WeightAverage
from project.data import ImageFolder
from project.data.images import load_square
from project.errors import ConfigError
from project.runs.checkpoints import read_checkpoint
from project.tasks import Classifier

STARTS: list[dict[str, torch.Tensor]] = []
STEPS: list[tuple[int, dict[str, torch.Tensor]]] = []
LOSSES: list[float] = []
ENDS: list[dict[str, torch.Tensor]] = []


class Recorder(Callback):
    """Notes the weights before the first batch, after every batch and at the end."""

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if not STEPS:
            STARTS.append(state(pl_module))

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        STEPS.append((trainer.global_step, state(pl_module)))
        LOSSES.append(outputs["loss"].item())

    def on_fit_end(self, trainer, pl_module):
        ENDS.append(state(pl_module))


def state(module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


RECORD = ("--trainer.callbacks", json.dumps([{"class_path": f"{__name__}.Recorder"}]))


@pytest.fixture
def fit(run, images, fit_options, tmp_path):
    """Trains with the arguments and a recorder, in a root of its own; returns the run's directory."""

    def fit_and_record(root: str, *more: object) -> Path:
        for record in (STARTS, STEPS, LOSSES, ENDS):
            record.clear()
        assert run(*fit_options(images, tmp_path / root, "--data.batch_size", 8, *RECORD, *more)) == 0
        return tmp_path / root / "r" / "version_0"

    return fit_and_record


def saved(directory: Path, which: str = "last") -> dict:
    return read_checkpoint(directory / "checkpoints" / f"{which}.ckpt")


def averaged(names) -> set[str]:
    """Weights, biases and the statistics of norms."""
    return {name for name in names if name.startswith("network.") and not name.endswith("num_batches_tracked")}


def expected_average(decay: float, every: int = 1) -> dict[str, np.ndarray]:
    """What the average of the recorded steps is, in float64."""
    after = dict(reversed(STEPS))  # of the batches that share a step, the one that ended it
    names = averaged(STARTS[0])
    average = {name: STARTS[0][name].double().numpy() for name in names}
    updates = 0
    for step in sorted(after):
        if step > 0 and step % every == 0:
            kept = min(decay, (1 + updates) / (10 + updates))
            average = {n: kept * average[n] + (1 - kept) * after[step][n].double().numpy() for n in names}
            updates += 1
    return average


def assert_close(state_dict: dict[str, torch.Tensor], average: dict[str, np.ndarray]) -> None:
    for name, value in average.items():
        np.testing.assert_allclose(state_dict[name].numpy(), value, rtol=2e-5, atol=1e-6, err_msg=name)


@pytest.mark.parametrize(
    ("decay", "every", "more"),
    [
        (0.9, 1, ()),
        (0.25, 1, ()),  # which the warm-up reaches
        (0.0, 1, ()),
        (0.9, 5, ()),
        (0.9, 1, ("--trainer.accumulate_grad_batches", 4)),  # 6 batches: two steps an epoch, the second of two batches
        (0.9, 2, ("--trainer.accumulate_grad_batches", 2, "--trainer.val_check_interval", 2)),
        (0.9, 1, ("--model.sam", 0.05)),
    ],
)
def test_the_checkpoint_holds_the_average_of_the_steps(fit, decay, every, more):
    checkpoint = saved(fit("runs", "--ema.decay", decay, "--ema.every", every, *more))
    weights, last = checkpoint["state_dict"], STEPS[-1][1]
    steps = {step for step, _ in STEPS if step}
    assert checkpoint["global_step"] == max(steps)
    assert checkpoint["raw_weights"]["updates"] == max(steps) // every
    average = expected_average(decay, every)
    assert any(name.endswith("running_var") for name in average)
    assert_close(weights, average)
    moved = {name for name in average if not torch.equal(weights[name], last[name])}
    assert (moved == set(average)) if decay else not moved
    # the optimizer's weights lie beside it
    assert checkpoint["raw_weights"]["weights"].keys() == average.keys()
    for name, raw in checkpoint["raw_weights"]["weights"].items():
        assert torch.equal(raw, last[name]), name
    # and the module in memory ends with the average, too
    assert all(torch.equal(value, weights[name]) for name, value in ENDS[0].items())


@pytest.mark.parametrize("more", [(), ("--trainer.val_check_interval", 2), ("--trainer.accumulate_grad_batches", 2)])
def test_training_is_bit_for_bit_what_it_is_without(fit, more):
    without, weights, losses = fit("without", *more), list(STEPS), list(LOSSES)
    with_it = fit("with", "--ema.decay", 0.9, *more)
    assert losses == LOSSES
    for (step, one), (other_step, other) in zip(weights, STEPS, strict=True):
        assert step == other_step
        names = one.keys() - {"temperature"}  # found in validation
        assert all(torch.equal(one[name], other[name]) for name in names)
    one, other = saved(without), saved(with_it)
    assert "raw_weights" not in one
    assert list(one["state_dict"]) == list(other["state_dict"])
    for a, b in zip(
        one["optimizer_states"][0]["state"].values(), other["optimizer_states"][0]["state"].values(), strict=True
    ):
        assert torch.equal(a["momentum_buffer"], b["momentum_buffer"])


def scores(task: Classifier, images: Path, split: str) -> tuple[float, float]:
    """Mean cross-entropy and accuracy of a split, image by image, in float64."""
    samples = ImageFolder(str(images), image_size=12).splits[split]
    squares = np.stack([load_square(path, 12) for path in samples.images])
    with torch.no_grad():
        logits = task(torch.from_numpy(squares).permute(0, 3, 1, 2)).double().numpy()
    log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    loss = -log_p[np.arange(len(log_p)), samples.labels].mean()
    return float(loss), float((logits.argmax(1) == samples.labels).mean())


def test_what_is_validated_and_tested_is_the_average(fit, run, images, tmp_path):
    directory = fit("runs", "--ema.decay", 0.8, "--trainer.max_epochs", 4, "--checkpoint.monitor", "val/loss")
    with open(directory / "metrics.csv") as file:
        rows = {int(row["step"]): row for row in csv.DictReader(file) if row["val/loss"]}
    for which in ("best", "last"):
        path = directory / "checkpoints" / f"{which}.ckpt"
        row = rows[saved(directory, which)["global_step"] - 1]
        task = Classifier.load_from_checkpoint(path)
        assert (float(row["val/loss"]), float(row["val/accuracy"])) == pytest.approx(
            scores(task, images, "val"), rel=1e-4
        )
        task.load_state_dict(task.state_dict() | saved(directory, which)["raw_weights"]["weights"])
        assert scores(task, images, "val")[0] != pytest.approx(float(row["val/loss"]), rel=1e-2)
    plain = ("--trainer.precision", "32-true", "--trainer.accelerator", "cpu")
    best = directory / "checkpoints" / "best.ckpt"
    assert run("test", "--ckpt_path", best, *plain) == 0
    found = json.loads((directory / "test_metrics.json").read_text())
    task = Classifier.load_from_checkpoint(best)
    assert (found["test/loss"], found["test/accuracy"]) == pytest.approx(scores(task, images, "test"), rel=1e-4)
    assert run("predict", "--ckpt_path", best, "--data.predict", images / "b", *plain) == 0
    lines = [json.loads(line) for line in (directory / "predictions.jsonl").read_text().splitlines()]
    answers = task.predict(sorted((images / "b").iterdir()))
    assert [line["probability"] for line in lines] == pytest.approx([a["probability"] for a in answers], abs=1e-5)


def test_switched_off_on_resuming_it_goes_on_from_the_raw_weights(fit, images):
    directory = fit("runs", "--ema.decay", 0.9)
    first = saved(directory)
    fit("runs", "--ema.decay", "null", "--trainer.max_epochs", 3, "--ckpt_path", "last")
    for name, raw in first["raw_weights"]["weights"].items():
        assert torch.equal(STARTS[0][name], raw)
    assert STEPS[0][0] == first["global_step"] + 1
    second = saved(directory)
    assert "raw_weights" not in second
    assert all(torch.equal(second["state_dict"][name], STEPS[-1][1][name]) for name in averaged(STARTS[0]))


def test_switched_on_on_resuming_it_starts_from_the_weights(fit):
    directory = fit("runs")
    first = saved(directory)["state_dict"]
    fit("runs", "--ema.decay", 0.9, "--trainer.max_epochs", 3, "--ckpt_path", "last")
    assert all(torch.equal(STARTS[0][name], first[name]) for name in averaged(first))
    second = saved(directory)
    assert second["raw_weights"]["updates"] == len(STEPS) == 6
    assert_close(second["state_dict"], expected_average(0.9))


def test_a_search_for_the_learning_rate_leaves_no_trace_in_the_average(fit, images):
    init = {"num_training_steps": 20, "early_stop_threshold": None, "min_lr": 1e-5}
    finder = {"class_path": "LearningRateFinder", "init_args": init}
    callbacks = json.dumps([finder, {"class_path": f"{__name__}.Recorder"}])
    directory = fit("runs", "--ema.decay", 0.9, "--trainer.callbacks", callbacks)
    searched = len(STEPS) - 12
    STARTS[:] = [STARTS[0]]
    del STEPS[:searched]
    checkpoint = saved(directory)
    assert checkpoint["raw_weights"]["updates"] == 12
    assert_close(checkpoint["state_dict"], expected_average(0.9))


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--ema.decay", 1.0), "ema.decay: must be at least 0 and below 1; got 1.0"),
        (("--ema.decay", -0.1), "ema.decay: must be at least 0 and below 1; got -0.1"),
        (("--ema.decay", ".nan"), "ema.decay: must be at least 0 and below 1; got nan"),
        (("--ema.decay", 0.9, "--ema.every", 0), "ema.every: must be at least 1; got 0"),
        (("--ema.decay", 0.9, "--trainer.precision", "bf16-true"), "ema.decay: 16-bit weights are too coarse"),
    ],
)
def test_what_cannot_be_is_one_line(fails, images, fit_options, tmp_path, more, message):
    assert message in fails(*fit_options(images, tmp_path / "runs", *more))


def test_16_bit_weights_are_no_trouble_without_an_average(run, images, fit_options, tmp_path):
    more = ("--trainer.precision", "bf16-true", "--trainer.max_epochs", 1)
    assert run(*fit_options(images, tmp_path / "runs", *more)) == 0


def test_weights_in_pieces_are_refused():
    """fsdp itself runs on GPUs alone."""
    trainer, task = SimpleNamespace(strategy=FSDPStrategy(), global_step=0), Classifier(["a", "b"], 12)
    WeightAverage(AveragingOptions()).on_train_start(trainer, task)
    with pytest.raises(ConfigError, match=r"^ema\.decay: .*fsdp.*ddp"):
        WeightAverage(AveragingOptions(0.9)).on_train_start(trainer, task)
