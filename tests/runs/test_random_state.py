"""The generators' state travels in a checkpoint and comes back at the first batch."""

from __future__ import annotations

import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from project.errors import CheckpointError
from project.runs.random_state import RandomState, _current_state


def draw() -> list[float]:
    return [
        random.random(), random.gauss(0, 1), float(np.random.rand()), float(np.random.standard_normal()),  # noqa: NPY002
        *torch.rand(3).tolist(), *torch.randn(3).tolist(),
    ]  # fmt: skip


def trainer(world_size: int = 1, rank: int = 0) -> SimpleNamespace:
    return SimpleNamespace(world_size=world_size, global_rank=rank)


def saved(tmp_path) -> dict:
    """A checkpoint as it comes back from disk."""
    checkpoint: dict = {"epoch": 1}
    RandomState().on_save_checkpoint(trainer(), None, checkpoint)
    torch.save(checkpoint, tmp_path / "c.ckpt")
    return torch.load(tmp_path / "c.ckpt", weights_only=True)


def seed(number: int) -> None:
    random.seed(number)
    np.random.seed(number)  # noqa: NPY002  the global state is what is saved
    torch.manual_seed(number)


def test_restored_at_the_first_batch_and_not_before_and_only_once(tmp_path):
    seed(5)
    draw()  # odd numbers of normal draws leave a second one cached
    random.gauss(0, 1)
    checkpoint = saved(tmp_path)
    expected = [draw(), draw()]
    seed(99)
    other = draw()
    callback = RandomState()
    callback.on_load_checkpoint(trainer(), None, checkpoint)
    seed(99)
    assert draw() == other
    callback.on_train_batch_start(trainer(), None, None, 3)
    assert draw() == expected[0]
    callback.on_train_batch_start(trainer(), None, None, 4)
    assert draw() == expected[1]


def test_a_checkpoint_after_a_validation_that_is_run_again_holds_the_state_that_training_goes_on_with(tmp_path):
    seed(5)
    checkpoint = saved(tmp_path)
    expected = draw()
    seed(99)  # as setting up a run does
    callback = RandomState()
    callback.on_load_checkpoint(trainer(), None, checkpoint)
    callback.on_validation_start(trainer(), None)
    after = saved(tmp_path)
    seed(99)
    resumed = RandomState()
    resumed.on_load_checkpoint(trainer(), None, after)
    resumed.on_train_batch_start(trainer(), None, None, 0)
    assert draw() == expected


def test_saving_draws_nothing(tmp_path):
    seed(1)
    expected = draw()
    seed(1)
    saved(tmp_path)
    assert draw() == expected


def test_each_process_takes_its_own(tmp_path):
    states = []
    for number in (1, 2):
        seed(number)
        states += saved(tmp_path)["random_state"]
    for rank, number in enumerate((1, 2)):
        seed(number)
        expected = draw()
        seed(7)
        callback = RandomState()
        callback.on_load_checkpoint(trainer(2, rank), None, {"random_state": states})
        callback.on_train_batch_start(trainer(2, rank), None, None, 0)
        assert draw() == expected


def test_with_another_number_of_processes_nothing_is_restored(tmp_path):
    checkpoint = saved(tmp_path)
    callback = RandomState()
    for loaded in (checkpoint, {}):
        callback.on_load_checkpoint(trainer(2, 1), None, loaded)
        seed(7)
        expected = draw()
        seed(7)
        callback.on_train_batch_start(trainer(2, 1), None, None, 0)
        assert draw() == expected


@pytest.mark.parametrize("position", [2**30, -1, "x"])
def test_random_state_position_out_of_range_is_refused(tmp_path, position):
    """numpy would take it, and read past the end of its numbers at the next draw."""
    checkpoint = {"random_state": [_current_state()]}
    checkpoint["random_state"][0]["numpy"][2] = position
    callback = RandomState()
    callback.on_load_checkpoint(trainer(), None, checkpoint)
    with pytest.raises(CheckpointError, match="random state is damaged"):
        callback.on_train_batch_start(trainer(), None, None, 0)
