"""Sums that stay exact: of batches of any size, in 16-bit networks, and in several processes."""

from __future__ import annotations

import pytest
import torch

from project.metrics.sums import WeightedMean


def test_a_weighted_mean_weighs_batches_by_their_size():
    losses = torch.tensor([1.0, 2, 3, 4, 10])
    metric = WeightedMean()
    metric.update(losses[:4].mean(), weight=4)
    metric.update(losses[4:].mean(), weight=1)
    assert metric.compute().item() == 4.0


def test_a_loss_that_is_not_a_number_is_not_hidden():
    metric = WeightedMean()
    metric.update(torch.tensor(1.0), weight=3)
    metric.update(torch.tensor(float("nan")), weight=1)
    assert metric.compute().isnan()


def test_a_sixteen_bit_network_does_not_make_its_sums_coarse():
    metric = torch.nn.ModuleList([WeightedMean()]).to(torch.bfloat16)[0]
    for _ in range(1000):
        metric.update(torch.tensor(1.0, dtype=torch.bfloat16), weight=1)
    assert metric.weight.item() == 1000, "in bfloat16 it would stop at 256"
    assert metric.compute().item() == 1.0


def test_it_is_updated_outside_of_inference_mode_after_a_reset_inside():
    metric = WeightedMean()
    with torch.inference_mode():
        metric.reset()
        metric.update(torch.tensor(2.0), weight=1)
    metric.update(torch.tensor(4.0), weight=torch.tensor(3.0))
    assert metric.compute().item() == pytest.approx(3.5)


def test_two_processes_states_add_up():
    one, other, whole = WeightedMean(), WeightedMean(), WeightedMean()
    for metric, values in ((one, [1.0, 2.0]), (other, [5.0]), (whole, [1.0, 2.0, 5.0])):
        for value in values:
            metric.update(torch.tensor(value), weight=2)
    one.merge_state(other)
    assert one.compute() == whole.compute()
