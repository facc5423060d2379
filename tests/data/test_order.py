"""Which sample is in which batch of which process."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from project.data.order import EvaluationOrder, TrainingOrder
from project.errors import DataError

CASES = [
    (length, batch_size, world_size)
    for length, batch_size, world_size in itertools.product((1, 2, 5, 16, 31, 100), (1, 2, 8, 64), (1, 2, 4))
    if length >= world_size and not (batch_size == 1 and length % world_size)
]


def training_epoch(length: int, batch_size: int, world_size: int, epoch: int = 0) -> list[list[list[int]]]:
    """Batches of each process."""
    ranks = []
    for rank in range(world_size):
        order = TrainingOrder(length, batch_size, 0, rank, world_size)
        order.set_epoch(epoch)
        ranks.append([batch.tolist() for batch in order.batches()])
        assert len(order) == len(ranks[-1])
    return ranks


@pytest.mark.parametrize(("length", "batch_size", "world_size"), CASES)
def test_an_epoch_trains_on_every_sample_once_in_even_batches(length, batch_size, world_size):
    ranks = training_epoch(length, batch_size, world_size)
    assert sorted(itertools.chain(*itertools.chain(*ranks))) == list(range(length))
    assert len({len(batches) for batches in ranks}) == 1, "a process with fewer batches blocks the others"
    sizes = [len(batch) for batches in ranks for batch in batches]
    assert min(sizes) >= 1
    assert max(sizes) - min(sizes) <= 1
    assert max(sizes) <= batch_size
    assert len(ranks[0]) == -(-length // (batch_size * world_size)), "more batches than needed"


@pytest.mark.parametrize(("length", "world_size"), [(5, 2), (5, 4), (31, 4)])
def test_no_batch_is_empty_where_single_samples_cannot_be_shared_evenly(length, world_size):
    """A mean over nothing is not a number, so one batch of two is the smaller evil."""
    batches = [batch for batches in training_epoch(length, 1, world_size) for batch in batches]
    assert sorted(itertools.chain(*batches)) == list(range(length))
    assert {len(batch) for batch in batches} == {1, 2}


def test_fewer_samples_than_a_batch_still_train():
    assert [len(batch) for batch in TrainingOrder(3, 128, 0).batches()] == [3]


def test_fewer_samples_than_processes_is_an_error():
    with pytest.raises(DataError, match="3 training images cannot feed 4 processes"):
        TrainingOrder(3, 8, 0, 0, 4)


@pytest.mark.parametrize(("length", "batch_size", "world_size"), [(100, 8, 1), (101, 7, 2), (5, 64, 1)])
def test_an_epoch_resumes_at_any_batch(length, batch_size, world_size):
    order = TrainingOrder(length, batch_size, 1, world_size - 1, world_size)
    order.set_epoch(3)
    whole = [batch.tolist() for batch in order.batches()]
    for start in range(len(whole) + 1):
        assert [batch.tolist() for batch in order.batches(start)] == whole[start:]


def test_every_epoch_and_seed_has_its_own_order_that_comes_again():
    def epoch(seed: int, number: int) -> list[int]:
        order = TrainingOrder(64, 16, seed)
        order.set_epoch(number)
        return np.concatenate(list(order.batches())).tolist()

    drawn = [epoch(seed, number) for seed in (0, 1) for number in range(4)]
    assert len(set(map(tuple, drawn))) == 8
    assert epoch(1, 3) == drawn[-1]


def test_processes_share_out_one_and_the_same_order():
    alone = [sample for batch in training_epoch(96, 8, 1)[0] for sample in batch]
    together = training_epoch(96, 4, 2)
    assert [sample for pair in zip(*together, strict=True) for batch in pair for sample in batch] == alone


@pytest.mark.parametrize(
    ("length", "batch_size", "world_size"), [(10, 4, 1), (10, 4, 3), (8, 4, 2), (3, 512, 1), (2, 4, 4), (0, 4, 1)]
)
def test_evaluation_sees_every_sample_once_in_its_own_order(length, batch_size, world_size):
    seen = []
    for rank in range(world_size):
        order = EvaluationOrder(length, batch_size, rank, world_size)
        batches = [batch.tolist() for batch in order.batches()]
        samples = [sample for batch in batches for sample in batch]
        assert samples == sorted(samples)
        assert len(order) == len(batches)
        assert all(len(batch) == batch_size for batch in batches[:-1])
        assert all(1 <= len(batch) <= batch_size for batch in batches)
        for start in range(len(batches) + 1):
            assert [batch.tolist() for batch in order.batches(start)] == batches[start:]
        seen += samples
    assert sorted(seen) == list(range(length))


def test_process_r_of_n_evaluates_every_nth_sample_from_r_on():
    """The order that predictions of several processes are merged by."""
    assert [batch.tolist() for batch in EvaluationOrder(11, 2, 1, 3).batches()] == [[1, 4], [7, 10]]
