"""Which sample is in which batch of which process."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from project.data.order import EvaluationOrder, TrainingOrder, index_of
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


BATCHES = st.tuples(st.integers(1, 40), st.integers(1, 4), st.floats(0, 1))


@given(st.integers(4, 150), st.lists(BATCHES, min_size=1, max_size=5), st.integers(0, 3))
def test_order_resumed_with_any_batches_and_processes_shows_each_view_once(length, parts, epoch):
    state: dict[str, int] = {}
    done, shown = 0, []
    for number, (batch_size, world_size, fraction) in enumerate(parts):
        orders = [TrainingOrder(length, batch_size, 7, rank, world_size) for rank in range(world_size)]
        for order in orders:
            order.set_epoch(epoch)
            if 0 < length - len(shown) < world_size and shown:
                with pytest.raises(DataError, match=f": {length - len(shown)} images are left"):
                    order.resume(state, done)
                return
            first = order.resume(state, done) if shown else 0
        left = orders[0].num_batches - first
        last = number == len(parts) - 1
        taken = left if last else min(round(fraction * left), left - 1)
        for batches in zip(*(itertools.islice(order.batches(first), taken) for order in orders), strict=True):
            sizes = [len(batch) for batch in batches]
            assert min(sizes) >= 1
            assert max(sizes) - min(sizes) <= 1
            assert max(sizes) <= batch_size + 1  # one sample more is better than a process without any
            shown += np.concatenate(batches).tolist()
        done = first + taken
        assert orders[0].seen(done) == len(shown)
        state = orders[0].state()
    assert sorted(shown) == list(range(length))


def test_order_resumed_with_its_own_batches_continues_as_the_whole():
    """Also one that was divided anew before, and a later epoch is a whole one."""

    def divided(batch_size: int, state: dict[str, int], done: int) -> tuple[TrainingOrder, int]:
        order = TrainingOrder(50, batch_size, 7)
        order.set_epoch(2)
        return order, order.resume(state, done)

    first = TrainingOrder(50, 6, 7)
    first.set_epoch(2)
    anew, start = divided(4, first.state(), 3)
    rest = [batch.tolist() for batch in anew.batches(start)]
    again, place = divided(4, anew.state(), start + 2)
    assert place == start + 2
    assert [batch.tolist() for batch in again.batches(place)] == rest[2:]
    again.set_epoch(3)
    whole = TrainingOrder(50, 4, 7)
    whole.set_epoch(3)
    assert [batch.tolist() for batch in again.batches()] == [batch.tolist() for batch in whole.batches()]


def test_order_of_more_samples_continues_at_the_same_fraction():
    state = TrainingOrder(60, 10, 7).state()
    order = TrainingOrder(90, 10, 7)
    first = order.resume(state, 2)
    assert order.seen(first) == 30
    assert sum(map(len, order.batches(first))) == 60


@pytest.mark.parametrize(
    "damage",
    [{"batches": 0}, {"batches": "5"}, {"batches": True}, {"first": -1}, {"first": 9}, {"before": 61}, {"length": 0}, {"epoch": 0.5}],
    ids=str,
)  # fmt: skip
def test_order_with_damaged_state_is_refused(damage):
    state = TrainingOrder(60, 10, 7).state()
    with pytest.raises(ValueError, match=r"^the (division of|place in) the epoch"):
        TrainingOrder(60, 12, 7).resume(state | damage, 2)


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
    # the processes take turns within each batch
    assert [
        sample for pair in zip(*together, strict=True) for turn in zip(*pair, strict=True) for sample in turn
    ] == alone


# ---- balanced classes


LABELS = np.repeat(np.arange(5), [500, 100, 50, 20, 3])


def balanced(balance: float, epoch: int, labels: np.ndarray = LABELS, **options) -> np.ndarray:
    order = TrainingOrder(len(labels), 64, 0, labels=labels, balance=balance, **options)
    order.set_epoch(epoch)
    return np.concatenate(list(order.batches()))


@pytest.mark.parametrize("balance", [0.3, 0.5, 1.0])
def test_classes_have_their_shares_in_every_epoch(balance):
    counts = np.bincount(LABELS)
    shares = counts ** (1 - balance) / (counts ** (1 - balance)).sum()
    seen = np.array([np.bincount(LABELS[index_of(balanced(balance, epoch))]) for epoch in range(200)])
    assert (seen.sum(1) == len(LABELS)).all()
    assert np.abs(seen - shares * len(LABELS)).max() < 1, "a class's number is rounded, no more"
    np.testing.assert_allclose(seen.mean(0), shares * len(LABELS), atol=0.1)


def test_a_rare_classs_samples_are_seen_equally_often_and_each_view_is_another():
    views = balanced(1.0, 2)
    assert len(np.unique(views)) == len(views)
    for label in range(5):
        times = np.bincount(index_of(views), minlength=len(LABELS))[label == LABELS]
        assert times.max() - times.min() <= 1


def test_a_common_classs_samples_take_turns_over_the_epochs():
    times = sum(np.bincount(index_of(balanced(1.0, epoch)), minlength=len(LABELS)) for epoch in range(60))[:500]
    expected = 60 * (len(LABELS) / 5) / 500
    assert stats.kstest((times - expected) / np.sqrt(expected), "norm").pvalue > 1e-6
    assert times.min() > 0


def test_balanced_classes_are_shuffled_among_each_other():
    labels = LABELS[index_of(balanced(1.0, 0))]
    halves = [np.bincount(half) for half in np.array_split(labels, 2)]
    assert stats.chi2_contingency(halves).pvalue > 1e-3


def test_zero_is_the_natural_order_and_equal_classes_stay_whole():
    order = TrainingOrder(len(LABELS), 64, 0)
    assert np.concatenate(list(order.batches())).tolist() == balanced(0.0, 0).tolist()
    even = np.arange(60) % 3
    assert sorted(balanced(1.0, 4, even).tolist()) == list(range(60))


def test_a_class_without_samples_is_left_out():
    labels = np.array([0] * 10 + [2] * 30)
    assert np.bincount(labels[index_of(balanced(1.0, 0, labels))]).tolist() == [20, 0, 20]


# ---- repeated augmentation


@pytest.mark.parametrize(("world_size", "repeats"), [(1, 4), (2, 4), (4, 4), (1, 3)])
def test_repetitions_of_a_sample_share_a_batch_and_no_process_where_there_are_enough(world_size, repeats):
    ranks = []
    for rank in range(world_size):
        order = TrainingOrder(240, 24 // world_size, 0, rank, world_size, repeats=repeats)
        ranks.append(list(order.batches()))
    for together in zip(*ranks, strict=True):
        samples, times = np.unique(index_of(np.concatenate(together)), return_counts=True)
        assert len(samples) == 24 // repeats
        assert (times == repeats).all()
        assert len(np.unique(np.concatenate(together))) == 24, "a view comes twice"
        for batch in together:
            assert np.unique(index_of(batch), return_counts=True)[1].max() == max(repeats // world_size, 1)
    assert len(ranks[0]) == 10


@pytest.mark.parametrize(("world_size", "repeats"), [(1, 4), (2, 4), (1, 3), (3, 4)])
def test_neighbours_that_are_mixed_are_of_different_samples(world_size, repeats):
    """MixUp and CutMix take the neighbour for the partner, and the last one for the first's."""
    for rank in range(world_size):
        for batch in TrainingOrder(240, 24 // world_size, 0, rank, world_size, repeats=repeats).batches():
            samples = index_of(batch)
            assert (samples != np.roll(samples, 1)).all()


def test_a_repeated_epoch_has_as_many_views_as_samples_and_later_ones_other_samples():
    epochs = []
    for epoch in range(40):
        order = TrainingOrder(101, 16, 0, repeats=4)
        order.set_epoch(epoch)
        views = np.concatenate(list(order.batches()))
        assert len(views) == 101
        epochs.append(set(index_of(views).tolist()))
        assert len(epochs[-1]) == 26
    assert set.union(*epochs) == set(range(101))


def test_balanced_and_repeated_views_are_all_different():
    views = balanced(1.0, 0, repeats=2)
    assert len(np.unique(views)) == len(views) == len(LABELS)


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


# ---- whatever the numbers


@st.composite
def epochs(draw: st.DrawFn) -> dict:
    """Of any set, shared out among any number of processes."""
    world_size = draw(st.integers(1, 6))
    options = {
        "length": draw(st.integers(world_size, 200)),
        "batch_size": draw(st.integers(1, 70)),
        "world_size": world_size,
    }
    if draw(st.booleans()):
        classes = draw(st.integers(1, 8))
        labels = draw(st.lists(st.integers(0, classes - 1), min_size=options["length"], max_size=options["length"]))
        options |= {"labels": np.array(labels), "balance": draw(st.floats(0.01, 1))}
    return options | {"seed": draw(st.integers(0, 2**63)), "repeats": draw(st.integers(1, 4))}


@given(epochs(), st.integers(0, 10**6), st.integers(0, 200))
def test_any_epoch_is_shared_out_whole_and_resumes_anywhere(options, epoch, start):
    shares = []
    for rank in range(options["world_size"]):
        order = TrainingOrder(rank=rank, **options)
        order.set_epoch(epoch)
        shares.append(list(order.batches()))
        assert len(order) == len(shares[-1])
        resumed = list(order.batches(start))
        assert [batch.tolist() for batch in resumed] == [batch.tolist() for batch in shares[-1][start:]]
    assert len({len(share) for share in shares}) == 1, "a process with fewer batches blocks the others"
    sizes = [len(batch) for share in shares for batch in share]
    assert min(sizes) >= 1
    assert max(sizes) - min(sizes) <= 1
    views = np.concatenate([batch for share in shares for batch in share])
    assert len(np.unique(views)) == len(views) == options["length"], "a view comes twice, or is lost"
    samples = index_of(views)
    assert ((samples >= 0) & (samples < options["length"])).all()
    if "labels" not in options and options["repeats"] == 1:
        assert np.array_equal(np.sort(views), np.arange(options["length"]))


@given(epochs(), st.integers(0, 10**6))
def test_an_epoch_is_the_same_views_whatever_the_processes_and_the_batches(options, epoch):
    whole = TrainingOrder(**options | {"world_size": 1, "batch_size": 512})
    whole.set_epoch(epoch)
    (expected,) = whole.batches()
    shares = [TrainingOrder(rank=rank, **options) for rank in range(options["world_size"])]
    for order in shares:
        order.set_epoch(epoch)
    found = [
        view for batches in zip(*(order.batches() for order in shares), strict=True) for view in np.concatenate(batches)
    ]
    assert sorted(found) == sorted(expected.tolist())


@given(st.integers(0, 200), st.integers(1, 70), st.integers(1, 6), st.integers(0, 200))
def test_any_evaluation_counts_each_sample_once_and_its_shares_interleave(length, batch_size, world_size, start):
    shares = []
    for rank in range(world_size):
        order = EvaluationOrder(length, batch_size, rank, world_size)
        batches = [batch.tolist() for batch in order.batches()]
        assert [batch.tolist() for batch in order.batches(start)] == batches[start:]
        assert len(order) == len(batches)
        shares.append([index for batch in batches for index in batch])
    merged = [index for turn in itertools.zip_longest(*shares) for index in turn if index is not None]
    assert merged == list(range(length))
