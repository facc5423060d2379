"""Sizes, dtypes and norms of what is compared."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from project.losses.projectors import Norm, conv_norm, in_dtype_of, same_size, shrunk


def test_the_larger_map_shrinks_side_by_side():
    a, b = torch.randn(2, 3, 8, 2), torch.randn(2, 5, 4, 6)
    small_a, small_b = same_size(a, b)
    assert small_a.shape == (2, 3, 4, 2)
    assert small_b.shape == (2, 5, 4, 2)
    torch.testing.assert_close(small_a, a.reshape(2, 3, 4, 2, 2).mean(3))
    assert shrunk(a, (8, 2)) is a
    assert shrunk(a, (9, 9)) is a


def test_features_meet_the_dtype_of_the_weights():
    assert in_dtype_of(nn.Linear(2, 2), torch.zeros(1, dtype=torch.float16)).dtype == torch.float32
    assert in_dtype_of(nn.Linear(2, 2).bfloat16(), torch.zeros(1)).dtype == torch.bfloat16
    assert in_dtype_of(nn.Identity(), torch.zeros(1, dtype=torch.float16)).dtype == torch.float16


@pytest.mark.parametrize("shape", [(4, 3, 1, 1), (1, 3, 2, 2)])
def test_the_norm_is_torchs(shape):
    x = torch.randn(shape)
    ours, theirs = Norm(3), nn.BatchNorm2d(3)
    torch.testing.assert_close(ours(x), theirs(x), rtol=0, atol=0)
    torch.testing.assert_close(ours.running_var, theirs.running_var, rtol=0, atol=0)
    torch.testing.assert_close(ours.eval()(x), theirs.eval()(x), rtol=0, atol=0)


def test_a_single_value_a_channel_is_normed_by_what_was_seen():
    norm = Norm(3)
    norm.running_mean += 2
    found = norm(torch.full((1, 3, 1, 1), 5.0))
    torch.testing.assert_close(found, torch.full((1, 3, 1, 1), 3.0), rtol=1e-4, atol=0)
    assert (norm.running_mean == 2).all()


@pytest.mark.parametrize("kernel", [1, 3])
def test_a_convolution_keeps_the_size(kernel):
    assert conv_norm(3, 7, kernel)(torch.randn(2, 3, 5, 4)).shape == (2, 7, 5, 4)
