"""The random numbers, against SplitMix64 in plain Python and against the distributions that they claim."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from project.data.draws import permutation, uniforms

WORD = 2**64
UNLIKELY = 1e-3  # the seeds are fixed, so a test that passes once passes always


def splitmix(state: int) -> int:
    """One output of SplitMix64, as in the reference implementation (Vigna, splitmix64.c)."""
    z = (state + 0x9E3779B97F4A7C15) % WORD
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % WORD
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB % WORD
    return z ^ (z >> 31)


def slow_uniform(seed: int, epoch: int, index: int, column: int) -> float:
    word = splitmix(splitmix(splitmix(splitmix(seed % WORD) ^ epoch) ^ index) ^ (column + 1))
    return (word >> 11) / 2**53


def test_the_reference_is_splitmix64():
    outputs = [splitmix(0x9E3779B97F4A7C15 * i % WORD) for i in range(3)]
    assert outputs == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]  # the published outputs of seed 0


@pytest.mark.parametrize("seed", [0, 1, -1, 42, 2**63, 2**64 - 1])
@pytest.mark.parametrize("epoch", [0, 7, 10**6])
def test_uniforms_are_those_of_plain_python(seed, epoch):
    indices = [0, 1, 2, 1000, 2**40]
    expected = [[slow_uniform(seed, epoch, index, column) for column in range(9)] for index in indices]
    drawn = uniforms(seed, epoch, np.array(indices), 9)
    assert drawn.dtype == np.float64
    np.testing.assert_array_equal(drawn, expected)


def test_a_sample_draws_the_same_in_any_batch():
    everyone = uniforms(3, 5, np.arange(100), 9)
    batch = np.array([17, 3, 99, 3])
    np.testing.assert_array_equal(uniforms(3, 5, batch, 9), everyone[batch])
    np.testing.assert_array_equal(uniforms(3, 5, batch, 4), everyone[batch, :4])


def test_no_number_comes_twice():
    several = [uniforms(seed, epoch, np.arange(500), 5) for seed in (0, 1, 2) for epoch in (0, 1, 2)]
    assert np.unique(several).size == 9 * 500 * 5


ALONG = {
    "index": lambda: uniforms(0, 0, np.arange(20_000), 1).ravel(),
    "epoch": lambda: np.ravel([uniforms(0, epoch, np.array([3]), 1) for epoch in range(5000)]),
    "seed": lambda: np.ravel([uniforms(seed, 2, np.array([3]), 1) for seed in range(5000)]),
    "column": lambda: uniforms(0, 0, np.array([3]), 20_000).ravel(),
}


@pytest.mark.parametrize("along", ALONG)
def test_draws_are_uniform_and_neighbours_independent(along):
    drawn = ALONG[along]()
    assert drawn.min() >= 0
    assert drawn.max() < 1
    assert stats.kstest(drawn, "uniform").pvalue > UNLIKELY
    pairs, _, _ = np.histogram2d(drawn[:-1:2], drawn[1::2], bins=8, range=[[0, 1], [0, 1]])
    assert stats.chisquare(pairs.ravel()).pvalue > UNLIKELY


@pytest.mark.parametrize("length", [1, 2, 7, 1000])
def test_a_permutation_holds_every_number_once(length):
    order = permutation(4, 9, length)
    assert order.dtype == np.int64
    np.testing.assert_array_equal(np.sort(order), np.arange(length))


def test_every_order_is_equally_likely():
    orders = [tuple(permutation(seed, epoch, 4).tolist()) for seed in range(20) for epoch in range(240)]
    counts = [orders.count(order) for order in set(orders)]
    assert len(counts) == 24
    assert stats.chisquare(counts).pvalue > UNLIKELY


@pytest.mark.parametrize("seed", [0, 1, 12345])
def test_the_order_shares_no_number_with_the_augmentation(seed):
    order = permutation(seed, 2, 2000)
    ranks = np.argsort(order)
    for column in uniforms(seed, 2, np.arange(2000), 9).T:
        assert stats.spearmanr(ranks, column).pvalue > UNLIKELY


def test_another_seed_or_epoch_is_another_order():
    orders = {tuple(permutation(seed, epoch, 50).tolist()) for seed in range(5) for epoch in range(5)}
    assert len(orders) == 25
    np.testing.assert_array_equal(permutation(3, 4, 50), permutation(3, 4, 50))
