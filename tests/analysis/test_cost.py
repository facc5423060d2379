"""Counts of a network whose cost is known, and times of one that sleeps."""

from __future__ import annotations

import time

import pytest
import torch
from torch import nn

from project.analysis.cost import count_flops, count_parameters, measure_speed

CPU = torch.device("cpu")


def test_parameters_count_once():
    first = nn.Linear(3, 4)
    assert count_parameters(nn.Sequential(first, nn.BatchNorm1d(4), first)) == 3 * 4 + 4 + 2 * 4


def test_flops_of_a_convolution_and_a_matrix():
    network = nn.Sequential(nn.Conv2d(3, 5, 3, padding=1), nn.Flatten(), nn.Linear(5 * 8 * 8, 7))
    counted = count_flops(lambda images: network(images.float()), 8, CPU)
    assert counted == 2 * (8 * 8 * 5 * 3 * 9) + 2 * (5 * 8 * 8 * 7)


def test_flops_of_attention_that_is_fused():
    """Of T tokens of D numbers: four projections, and T² products for scores and for their means."""
    attention = nn.MultiheadAttention(8, 2, batch_first=True).eval()
    tokens = torch.randn(1, 5, 8)
    counted = count_flops(lambda images: attention(tokens, tokens, tokens, need_weights=False), 2, CPU)
    assert counted == 2 * (4 * 5 * 8 * 8 + 2 * 5 * 5 * 8)
    assert torch.backends.mha.get_fastpath_enabled()


def test_speed_is_the_time_of_a_batch():
    def slow(images: torch.Tensor) -> None:
        assert images.dtype == torch.uint8
        time.sleep(0.01 * len(images))

    one, four = measure_speed(slow, 8, CPU, (1, 4))
    assert (one.batch_size, four.batch_size) == (1, 4)
    assert 0.01 <= one.latency < 0.03
    assert 0.04 <= four.latency < 0.08
    assert four.throughput == pytest.approx(4 / four.latency)


def test_a_slow_batch_is_the_last(monkeypatch):
    monkeypatch.setattr("project.analysis.cost._LONG", 0.05)

    def slow(images: torch.Tensor) -> None:
        time.sleep(0.02 * len(images))

    sizes = [speed.batch_size for speed in measure_speed(slow, 2, CPU, (1, 5, 60))]
    assert sizes == [1, 5]
