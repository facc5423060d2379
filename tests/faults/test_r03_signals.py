"""R3: a scheduler's signal gives a checkpoint within a batch, a status that says so, and an untouched best."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import time

import pytest

from tests.faults.outcomes import EPOCHS, STEPS, TASKS, leftovers, steps_of

PROMISE = "R3"
STATUS = {signal.SIGTERM: 143, signal.SIGUSR1: 143, signal.SIGINT: 130}


def places(task: str, number: signal.Signals) -> list[str]:
    """At random: between batches, in a batch, in validation, and where an epoch ends and begins; a half for each other."""
    draw = random.Random(f"{task} {number}")
    found = [
        "train 0", f"train {draw.randrange(1, STEPS)}", f"update {draw.randrange(STEPS, EPOCHS * STEPS - 1)}",
        f"validate {STEPS * draw.randint(1, EPOCHS - 1)}", f"end {draw.randrange(EPOCHS - 1)}",
        f"epoch {draw.randrange(1, EPOCHS)}",
    ]  # fmt: skip
    return found if number == signal.SIGTERM else draw.sample(found, 3)


@pytest.mark.parametrize(
    ("task", "number", "place"),
    [(task, number, place) for task in TASKS for number in STATUS for place in places(task, number)],
    ids=lambda value: value.name if isinstance(value, signal.Signals) else value,
)
def test_stopped_at(fit, directory, ends_as_whole, task, number, place):
    command = fit(task, place)
    command.wait_for_pause()
    best = directory / "checkpoints" / "best.ckpt"
    before = best.read_bytes() if best.exists() else None
    command.send(number)
    assert command.wait() == STATUS[number], command.output
    assert "Traceback" not in command.output
    assert json.loads((directory / "status.json").read_text()) == {"status": "interrupted"}
    name, step = place.split()
    reached = int(step) * STEPS if name == "epoch" else (int(step) + 1) * STEPS if name == "end" else int(step)
    # where a thread takes it, Python tells the main one a moment later, and a batch takes three milliseconds here
    assert steps_of(directory) - reached in ((0,) if name in ("end", "validate") else (0, 1, 2))
    assert (best.read_bytes() if best.exists() else None) == before
    ends_as_whole(task)


@pytest.mark.parametrize(
    ("task", "number"),
    [("Classifier", signal.SIGUSR1), ("Captioner", signal.SIGTERM), ("Distiller", signal.SIGUSR1)],
    ids=lambda value: value.name if isinstance(value, signal.Signals) else value,
)
def test_stopped_as_a_user_starts_it(fit, directory, ends_as_whole, task, number):
    command = fit(task, "train 29", imports=True)
    command.wait_for_pause()
    command.send(number)
    assert command.wait() == 143, command.output
    assert steps_of(directory) in (30, 31)
    ends_as_whole(task)


@pytest.mark.parametrize("seconds", [0.05, 0.1, 0.2, 0.4])
def test_stopped_before_it_trains(fit, directory, ends_as_whole, seconds):
    """Or hardly: there may be nothing to save yet, and nothing is left that the next start would stumble over."""
    command = fit("Classifier")
    time.sleep(seconds)
    command.send(signal.SIGTERM)
    assert command.wait() in (-signal.SIGTERM, 143), command.output
    assert "Traceback" not in command.output
    if steps_of(directory) == 0:
        shutil.rmtree(directory, ignore_errors=True)
    ends_as_whole("Classifier")


@pytest.mark.parametrize("verb", ["test", "predict"])
@pytest.mark.parametrize("number", STATUS, ids=lambda number: number.name)
def test_a_measurement_that_is_stopped_leaves_no_half_result(start, wholes, image_folder, tmp_path, verb, number):
    more = {"test": [], "predict": ["--data.predict", image_folder]}[verb]
    where = ["--trainer.default_root_dir", tmp_path / "runs", "--name", "m", "--data.eval_batch_size", 1]
    callbacks = ["--trainer.callbacks", '[{"class_path": "tests.faults.places.PauseAt"}]']
    command = start(
        [verb, "--ckpt_path", wholes.run("Classifier"), *where, *more, *callbacks],
        environment={"PAUSE_AT": f"{verb} 1"},
    )
    command.wait_for_pause()
    command.send(number)
    assert command.wait() == STATUS[number], command.output
    found = [path.name for path in (tmp_path / "runs").rglob("*") if path.is_file()]
    assert not {"test_metrics.json", "predictions.jsonl", "index.html"} & set(found)
    assert leftovers(tmp_path / "runs") == [] if (tmp_path / "runs").exists() else True


@pytest.mark.parametrize("number", [*STATUS, signal.SIGHUP], ids=lambda number: number.name)
@pytest.mark.parametrize("place", ["update 9", "validate 24"])
def test_signal_to_all_processes_stops_as_one_to_the_first(fit, directory, ends_as_whole, number, place):
    """As a terminal sends Ctrl-C and a hangup, and `timeout` SIGTERM: to the loader's workers, too."""
    command = fit("Classifier", place)
    command.wait_for_pause()
    os.killpg(command.pid, number)
    command.go_on()
    assert command.wait_for_all() == STATUS.get(number, 143), command.output
    assert "Traceback" not in command.output
    assert command.output.count("stopping after this batch") == (number == signal.SIGINT)
    assert steps_of(directory) == (10 if place == "update 9" else 24)
    ends_as_whole("Classifier")


@pytest.mark.parametrize("whom", [os.kill, os.killpg], ids=["the process", "the terminal's processes"])
@pytest.mark.parametrize("place", ["train 5", "update 9", "validate 24", "end 0", "epoch 1"])
def test_second_interrupt_at_any_moment_exits_with_130(fit, directory, whom, place, record_property):
    """Five moments after the first: in the batch, while it saves, while it ends."""
    waits = (0, 0.02, 0.05, 0.1, 0.2)
    record_property("faults", len(waits))
    for wait in waits:
        shutil.rmtree(directory.parent, ignore_errors=True)
        command = fit("Classifier", place)
        command.wait_for_pause()
        command.send(signal.SIGINT)
        time.sleep(wait)
        if command.status() is None:
            whom(command.pid, signal.SIGINT)
        assert command.wait_for_all() == 130, command.output
        assert "Traceback" not in command.output
        assert "Exception ignored" not in command.output
        assert steps_of(directory) >= 0  # what there is of it opens
