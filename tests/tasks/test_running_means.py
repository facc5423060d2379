"""Means over an epoch's samples, also across processes and an interruption."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
import torch

from project.tasks.running_means import RunningMeans


def alone() -> SimpleNamespace:
    return SimpleNamespace(root_device=torch.device("cpu"), reduce=lambda tensor, reduce_op: tensor)


def with_others(*others: torch.Tensor) -> SimpleNamespace:
    """A strategy whose other processes hold these sums and counts."""

    def reduce(tensor, reduce_op):
        assert reduce_op == "sum"
        return tensor + sum(others)

    return SimpleNamespace(root_device=torch.device("cpu"), reduce=reduce)


def test_batches_weigh_by_their_size_in_double_precision():
    means, losses = RunningMeans(), torch.rand(1000, dtype=torch.float64)
    for chunk in losses.split(64):
        means.update(len(chunk), loss=chunk.mean(), square=(chunk**2).mean())
    expected = {"loss": losses.mean().item(), "square": (losses**2).mean().item()}
    assert means.compute(alone()) == pytest.approx(expected, rel=1e-12)


def test_many_small_addends_are_not_lost():
    means = RunningMeans()
    means.update(1, loss=torch.tensor(2.0**25))
    for _ in range(100):
        means.update(1, loss=torch.tensor(1.0))  # in float32, 2**25 + 1 is 2**25
    assert means.compute(alone())["loss"] == (2**25 + 100) / 101


def test_no_samples_no_means_and_reset_forgets():
    means = RunningMeans()
    assert means.compute(alone()) == {}
    means.update(2, loss=torch.tensor(3.0))
    means.reset()
    assert means.compute(alone()) == {}
    means.update(2, loss=torch.tensor(5.0))
    assert means.compute(alone()) == {"loss": 5.0}


def test_keeps_no_graph():
    means, weight = RunningMeans(), torch.ones(1, requires_grad=True)
    means.update(1, loss=(weight * 3).sum())
    assert not means._sums.requires_grad


def test_processes_are_pooled_and_not_averaged():
    means = RunningMeans()
    means.update(1, loss=torch.tensor(4.0))
    assert means.compute(with_others(torch.tensor([30.0, 3.0]))) == {"loss": 34 / 4}


@pytest.mark.parametrize("ranks", [1, 2])
def test_an_interrupted_epoch_reports_the_whole_one(ranks):
    first = RunningMeans()
    first.update(3, loss=torch.tensor(2.0), accuracy=torch.tensor(0.5))
    state = json.loads(json.dumps(first.state(alone())))  # plain types
    parts = []
    for rank in range(ranks):
        means = RunningMeans()
        means.restore(state, rank)
        means.update(2, loss=torch.tensor(7.0), accuracy=torch.tensor(1.0))
        parts.append(means)
    others = [torch.tensor([*part._sums.tolist(), float(part._count)]) for part in parts[1:]]
    count = 3 + 2 * ranks
    expected = {"loss": (6 + 14 * ranks) / count, "accuracy": (1.5 + 2 * ranks) / count}
    assert parts[0].compute(with_others(*others)) == pytest.approx(expected)


def test_restoring_nothing_starts_anew():
    means = RunningMeans()
    means.update(1, loss=torch.tensor(1.0))
    for state in ({}, RunningMeans().state(alone())):
        means.restore(state, 0)
        assert means.compute(alone()) == {}
