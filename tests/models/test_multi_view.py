"""Views of an image at test time, against flips and shifts written out."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from project.models.multi_view import mean_logits

SIZE = 64


def network(images: torch.Tensor) -> torch.Tensor:
    """Linear in every pixel, with a weight for each: tells any two views apart."""
    weights = torch.from_numpy(np.random.default_rng(0).random((3 * images.shape[-1] ** 2, 4)))
    return images.double().flatten(1) @ weights


def images(size: int = SIZE) -> torch.Tensor:
    return torch.randint(256, (5, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def shifted(pixels: torch.Tensor, offset: int) -> torch.Tensor:
    padded = np.pad(pixels.numpy(), ((0, 0), (0, 0), (abs(offset),) * 2, (abs(offset),) * 2), "reflect")
    start, size = abs(offset) - offset, pixels.shape[-1]
    return torch.from_numpy(padded[..., start : start + size, start : start + size].copy())


def test_without_views_it_is_the_network():
    assert torch.equal(mean_logits(network, images(), None), network(images()))


def test_flip_averages_an_image_and_its_mirror():
    expected = (network(images()) + network(images().flip(-1))) / 2
    torch.testing.assert_close(mean_logits(network, images(), "flip"), expected)


@pytest.mark.parametrize(("size", "step"), [(8, 1), (32, 1), (64, 2), (100, 3)])
def test_flip_shift_is_half_the_middle_and_a_quarter_each_side(size, step):
    def mirrored(pixels: torch.Tensor) -> torch.Tensor:
        return (network(pixels) + network(pixels.flip(-1))) / 2

    pixels = images(size)
    up, down = mirrored(shifted(pixels, -step)), mirrored(shifted(pixels, step))
    torch.testing.assert_close(mean_logits(network, pixels, "flip_shift"), mirrored(pixels) / 2 + up / 4 + down / 4)


def test_the_views_keep_dtype_and_shape():
    seen = []
    mean_logits(lambda view: seen.append((view.shape, view.dtype)) or torch.zeros(5, 2), images(), "flip_shift")
    assert seen == [(torch.Size([5, 3, SIZE, SIZE]), torch.uint8)] * 6
