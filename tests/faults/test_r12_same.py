"""R12: the same seed gives the same bits, in a new process and with any number of loader workers."""

from __future__ import annotations

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
