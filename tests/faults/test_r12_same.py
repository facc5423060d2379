"""R12: the same seed gives the same bits, in a new process and with any number of loader workers."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.faults.outcomes import TASKS, assert_same_run

PROMISE = "R12"


@pytest.mark.parametrize(
    ("task", "storage", "workers"),
    [
        *((task, "auto", 1) for task in TASKS if task != "Classifier"),
        ("Classifier", "stream", 0), ("Classifier", "stream", 1), ("Classifier", "stream", 3), ("Classifier", "resident", 1),
        ("Captioner", "stream", 0), ("Captioner", "stream", 2), ("Distiller", "stream", 0), ("Distiller", "stream", 2),
        ("CaptionDistiller", "stream", 2),
    ],
)  # fmt: skip
def test_again(fit, wholes, directory, task, storage, workers):
    command = fit(task, more={"data.storage": storage, "data.num_workers": workers})
    assert command.wait() == 0, command.output
    assert_same_run(directory, wholes.run(task))


def test_another_seed_is_another_run(fit, wholes, directory, record_property):
    """What is compared above can differ."""
    record_property("faults", 0)
    assert fit("Classifier", more={"seed": 1}).wait() == 0
    with pytest.raises(AssertionError):
        assert_same_run(directory, wholes.run("Classifier"))


def zero_some(path: Path) -> None:
    with open(path, "r+b") as file:
        file.seek(4196)
        file.write(bytes(500))


@pytest.mark.parametrize("damage", [zero_some, lambda path: os.truncate(path, 100)], ids=["zeroed", "truncated"])
def test_damaged_cache_changes_no_bit(fit, wholes, directory, tmp_path, damage):
    """In the run in whose middle it happens (of a mapped file, truncation would be a SIGBUS), and in the next."""
    cache = {"data.cache_dir": tmp_path / "cache"}
    command = fit("Distiller", "train 30", more=cache)
    command.wait_for_pause()
    files = list((tmp_path / "cache").glob("images-*"))
    assert len(files) == 2
    for path in files:
        damage(path)
    command.go_on()
    assert command.wait() == 0, command.output
    again = fit("Distiller", more=cache)
    assert again.wait() == 0, again.output
    assert again.output.count("decoded images: ") == 2
    for version in ("version_0", "version_1"):
        assert_same_run(directory.with_name(version), wholes.run("Distiller"))
