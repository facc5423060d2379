"""R1: whenever a run is killed, it goes on from its last checkpoint and ends as if it had not been."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time

import pytest

from project.runs.directory import RunDirectory
from tests.faults.outcomes import EPOCHS, STEPS, TASKS, assert_same_run, steps_of

PROMISE = "R1"


def places(task: str) -> list[str]:
    """Before a first checkpoint, and at random: between batches, in a batch, in validation and between epochs."""
    draw = random.Random(f"{task} 0")
    steps = [draw.randrange(STEPS * epoch, STEPS * (epoch + 1)) for epoch in range(EPOCHS)]
    return [
        "train 3", *(f"train {step}" for step in steps), f"update {draw.randrange(21, EPOCHS * STEPS)}",
        f"validate {STEPS * draw.randint(1, EPOCHS)}", f"end {draw.randrange(1, EPOCHS)}", f"epoch {draw.randrange(1, EPOCHS)}",
    ]  # fmt: skip


def saved_before(place: str) -> int:
    """The step of the newest checkpoint when a run is killed at a place: the twentieth of an epoch, or its end."""
    name, number = place.split()
    if name in ("end", "epoch"):
        return int(number) * STEPS + (20 if name == "end" else 0)
    step = int(number) - (name == "validate")  # validation comes before the epoch's checkpoint
    return step // STEPS * STEPS + (20 if step % STEPS >= 20 else 0)


@pytest.mark.parametrize(("task", "place"), [(task, place) for task in TASKS for place in places(task)])
def test_killed_at(fit, directory, ends_as_whole, task, place):
    command = fit(task, place)
    command.wait_for_pause()
    command.kill()
    assert steps_of(directory) == saved_before(place)
    if saved_before(place) == 0:
        shutil.rmtree(directory)  # nothing to go on from: the next start is a new one
    ends_as_whole(task)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("seed", range(3))
def test_killed_while_it_saves(fit, directory, ends_as_whole, task, seed):
    """The temporary file has just appeared; from there to its renaming takes some milliseconds."""
    draw = random.Random(f"{task} {seed}")
    command = fit(task, f"train {draw.randrange(STEPS, EPOCHS * STEPS - 1)}")
    command.wait_for_pause()
    folder, delay = directory / "checkpoints", draw.uniform(0, 0.008)
    command.go_on()
    while not any(".ckpt." in name and name.endswith(".tmp") for name in os.listdir(folder)):
        pass
    time.sleep(delay)
    command.kill()
    assert steps_of(directory) % STEPS in (0, 20)
    assert steps_of(directory, "best") % STEPS == 0
    ends_as_whole(task)


@pytest.mark.parametrize("task", TASKS)
def test_killed_again_and_again(fit, wholes, directory, record_property, task):
    """At random times, as on a machine that others may take away."""
    draw, kills, shorter = random.Random(task), 0, 1.0
    while not RunDirectory(directory).finished:
        command = fit(task, more={"ckpt_path": "auto"})
        share = draw.uniform(0.05, 0.3) * (1 + kills / 4)  # of a whole run; or it might never end
        deadline = time.monotonic() + share * shorter * wholes.seconds(task)
        while command.status() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        if command.status() is None:
            command.kill()
            kills += 1
        assert command.status() in (0, -signal.SIGKILL), command.output
        if command.status() == 0 and kills == 0:  # the whole run, a cold start, took longer than this one
            shutil.rmtree(directory)
            shorter /= 2
        elif not (directory / "checkpoints" / "last.ckpt").exists():
            shutil.rmtree(directory, ignore_errors=True)
    assert kills > 0
    record_property("faults", kills)
    if command.status():  # killed between the end of the run and that of the process
        for lock in directory.parent.rglob(".*lock"):
            lock.unlink()
    assert_same_run(directory, wholes.run(task))
    assert [path.name for path in directory.parent.iterdir()] == ["version_0"]


@pytest.mark.parametrize("task", ["Classifier", "Captioner"])
def test_killed_as_a_user_starts_it(fit, directory, wholes, record_property, task):
    """The same through `python -m project` itself, killed twice."""
    for place in ("train 45", "train 60", ""):
        command = fit(task, place, more={"ckpt_path": "auto"}, imports=True)
        if place:
            command.wait_for_pause()
            command.send(signal.SIGKILL)
        assert command.wait() == (-signal.SIGKILL if place else 0), command.output
    record_property("faults", 2)
    assert_same_run(directory, wholes.run(task))
    assert [path.name for path in directory.parent.iterdir()] == ["version_0"]


# ---- options that change where an epoch, an update or a run ends

IN_MEMORY = {"data.storage": "resident", "data.num_workers": 0}


@pytest.mark.parametrize(
    ("options", "place", "number"),
    [
        ({"trainer.max_steps": 33}, "epoch 1", signal.SIGKILL),
        ({"trainer.max_steps": 33}, "train 22", signal.SIGKILL),
        ({"trainer.max_steps": 40, "trainer.max_epochs": -1}, "epoch 1", signal.SIGKILL),
        ({"trainer.limit_train_batches": 12}, "validate 12", signal.SIGTERM),
        ({"trainer.limit_train_batches": 0.5}, "epoch 1", signal.SIGKILL),
        ({"trainer.overfit_batches": 4}, "validate 4", signal.SIGTERM),
        ({"trainer.accumulate_grad_batches": 2, "trainer.val_check_interval": 5}, "validate 14", signal.SIGTERM),
        ({"trainer.accumulate_grad_batches": 4, "trainer.val_check_interval": 8}, "train 9", signal.SIGTERM),
        ({"trainer.accumulate_grad_batches": 4}, "train 5", signal.SIGTERM),
        ({"trainer.val_check_interval": 0.25}, "validate 30", signal.SIGTERM),
        ({"trainer.reload_dataloaders_every_n_epochs": 1}, "train 30", signal.SIGTERM),
    ],
    ids=str,
)
def test_a_run_goes_on_as_if_nothing_had_been(start, wholes, fit, directory, tmp_path, options, place, number):
    more = IN_MEMORY | options
    whole = start(wholes.options("Classifier", tmp_path / "whole", more))
    command = fit("Classifier", place, more)
    command.wait_for_pause()
    command.send(number)
    assert command.wait() in (143, -signal.SIGKILL), command.output
    again = fit("Classifier", more=more | {"ckpt_path": "auto"})
    assert again.wait() == 0, again.output
    assert whole.wait() == 0, whole.output
    assert [path.name for path in directory.parent.iterdir()] == ["version_0"]
    assert_same_run(directory, tmp_path / "whole" / "r" / "version_0")


@pytest.mark.parametrize(
    ("accumulate", "more"), [(24, {}), (12, {"trainer.val_check_interval": 12}), (4, {"trainer.val_check_interval": 4})]
)
def test_a_signal_is_heard_however_many_batches_make_an_update(fit, directory, accumulate, more):
    command = fit("Classifier", "train 0", IN_MEMORY | more | {"trainer.accumulate_grad_batches": accumulate})
    command.wait_for_pause()
    command.send(signal.SIGTERM)
    assert command.wait() == 143, command.output
    assert steps_of(directory) <= 24 // accumulate  # within the first epoch
