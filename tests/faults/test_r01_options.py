"""R1 and R3 with the options that change where an epoch, an update or a run ends."""

from __future__ import annotations

import signal

import pytest

from tests.faults.outcomes import assert_same_run, steps_of

PROMISE = "R1"
PLAIN = {"data.storage": "resident", "data.num_workers": 0}


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
    more = PLAIN | options
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
    command = fit("Classifier", "train 0", PLAIN | more | {"trainer.accumulate_grad_batches": accumulate})
    command.wait_for_pause()
    command.send(signal.SIGTERM)
    assert command.wait() == 143, command.output
    assert steps_of(directory) <= 24 // accumulate  # within the first epoch
