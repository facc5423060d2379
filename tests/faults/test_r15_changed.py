"""R15: a run resumed with other batches, processes, accumulation or length sees each sample once, at its fraction's rate."""

from __future__ import annotations

import json
import random
from collections import defaultdict
from pathlib import Path

import pytest

from project.runs.checkpoints import read_checkpoint
from tests.faults.outcomes import EPOCHS, STEPS, TASKS
from tests.forks import ROOT

PROMISE = "R15"
COUNT = 48  # training images of every recipe but those of captions
CALLBACKS = [{"class_path": f"tests.faults.places.{name}"} for name in ("PauseAt", "SeenSamples")]
TWO = {"trainer.devices": 2, "trainer.strategy": "ddp"}
CHANGES = {
    "batch": {"data.batch_size": 5}, "single": {"data.batch_size": 1}, "accumulation": {"trainer.accumulate_grad_batches": 3},
    "longer": {"trainer.max_epochs": EPOCHS + 2}, "batch and longer": {"data.batch_size": 7, "trainer.max_epochs": EPOCHS + 1},
    "processes": TWO, "processes and batch": TWO | {"data.batch_size": 3},
}  # fmt: skip


def noted(folder: Path, steps: int) -> list[tuple[int, float, list[int]]]:
    """Batches of the processes of one start, without those after `steps`: epoch, rate and samples."""
    return [
        (epoch, rate, samples)
        for path in sorted(folder.iterdir())
        for step, epoch, rate, samples in map(json.loads, path.read_text("utf-8").splitlines())
        if step < steps
    ]


@pytest.mark.parametrize(
    ("task", "change"),
    [*(("Classifier", change) for change in CHANGES), *((task, "batch and longer") for task in TASKS[1:]), ("Captioner", "processes")],
)  # fmt: skip
def test_changed(fit, directory, tmp_path, task, change):
    step = random.Random(f"{task} {change}").randrange(STEPS + 20, 2 * STEPS)
    seen = [tmp_path / "seen" / part for part in ("first", "second")]
    for folder in seen:
        folder.mkdir(parents=True)
    recipe = {"trainer.callbacks": CALLBACKS, "model.lr_scheduler": "OneCycle", "model.lr_scheduler.warmup": 0}
    command = fit(task, f"train {step}", recipe, environment={"SEEN": str(seen[0])})
    command.wait_for_pause()
    command.kill()
    checkpoint = read_checkpoint(directory / "checkpoints" / "last.ckpt")
    steps, full = checkpoint["global_step"], checkpoint["optimizer_states"][0]["param_groups"][0]["initial_lr"]
    assert steps == STEPS + 20
    changed = CHANGES[change]
    begun = fit(task, more=recipe | {"ckpt_path": directory} | changed, environment={"SEEN": str(seen[1]), "PYTHONPATH": str(ROOT)},
                imports="trainer.devices" in changed)  # fmt: skip
    assert begun.wait() == 0, begun.output
    rows, resumed = noted(seen[0], steps), noted(seen[1], 10**9)
    samples = defaultdict(list)
    for epoch, _, found in rows + resumed:
        samples[epoch] += found
    epochs = changed.get("trainer.max_epochs", EPOCHS)
    count = len(samples[0])
    assert {epoch: sorted(found) for epoch, found in samples.items()} == {e: list(range(count)) for e in range(epochs)}
    rate = {round(rate, 12) for epoch, rate, _ in resumed if epoch == 1}
    start = sum(len(found) for _, _, found in rows) / (count * epochs)
    assert max(rate) == pytest.approx(full * (1 - start), rel=1e-6)  # with images of 24 equal batches
    last = read_checkpoint(directory / "checkpoints" / "last.ckpt")
    assert last["optimizer_states"][0]["param_groups"][0]["lr"] == pytest.approx(0, abs=1e-9)
