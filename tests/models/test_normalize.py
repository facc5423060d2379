"""Normalisation, against float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from project.errors import ConfigError
from project.models.normalize import IMAGENET_MEAN, IMAGENET_STD, Normalize

EVERY_LEVEL = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).repeat(2, 3, 1, 1)
SETTINGS = [(IMAGENET_MEAN, IMAGENET_STD), ((0.3, 0.3, 0.3), (0.3, 0.3, 0.3)), ((0, 0.5, 1), (1, 0.01, 2))]


@pytest.mark.parametrize(("mean", "std"), SETTINGS)
def test_every_level_of_every_channel_is_normalised(mean, std):
    result = Normalize(list(mean), list(std))(EVERY_LEVEL)
    channel = (1, 3, 1, 1)
    mean64, std64 = np.reshape(np.float64(mean), channel), np.reshape(np.float64(std), channel)
    expected = (EVERY_LEVEL.double().numpy() / 255 - mean64) / std64
    assert result.dtype == torch.float32
    # four roundings of float32, of terms no larger than 1 / std
    bound = np.broadcast_to(4 * 2.0**-24 / std64, expected.shape)
    assert (np.abs(result.numpy() - expected) <= bound).all()


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_layout_is_kept(layout):
    images = EVERY_LEVEL.contiguous(memory_format=layout)
    assert Normalize([0.5] * 3, [0.5] * 3)(images).is_contiguous(memory_format=layout)


def test_a_checkpoint_does_not_hold_it():
    assert Normalize(list(IMAGENET_MEAN), list(IMAGENET_STD)).state_dict() == {}


@pytest.mark.parametrize(("mean", "std"), [([0.5], [0.5]), ([0.5] * 3, [0.5] * 2), ([0.5] * 3, [0.5, 0.0, 0.5])])
def test_numbers_that_normalise_nothing_are_one_line(mean, std):
    with pytest.raises(ConfigError, match=r"^model\.mean, model\.std: three numbers each"):
        Normalize(mean, std)
