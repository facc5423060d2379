"""Batched crop, shift and flip, against one image at a time with numpy's own padding."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats

from project.data.augmentation import Augmentation
from project.data.augmentation.geometry import NUM_DRAWS, move_pixels
from project.data.draws import uniforms


def augment(images: torch.Tensor, rows: torch.Tensor, draws: torch.Tensor, what: Augmentation) -> torch.Tensor:
    """(B, 3, S, S)."""
    return move_pixels(images, rows, draws, what.crop, what.shift, bool(what.flip)).permute(0, 3, 1, 2)


LAST = 1 - 2**-24  # the largest float32 below one


def one_by_one(images: np.ndarray, rows: np.ndarray, draws: np.ndarray, what: Augmentation) -> np.ndarray:
    """Pad, crop, pad, shift and flip each image by itself, (B, 3, S, S)."""

    def offset(draw: float, largest: int) -> int:
        return math.floor(draw * (2 * largest + 1)) - largest

    def moved(image: np.ndarray, y: int, x: int, largest: int, mode: str) -> np.ndarray:
        padded = np.pad(image, ((largest, largest), (largest, largest), (0, 0)), mode)
        top, left = largest - y, largest - x
        return padded[top : top + len(image), left : left + len(image)]

    results = []
    for row, (crop_y, crop_x, shift_y, shift_x, flip) in zip(rows, draws.astype(float), strict=True):
        image = moved(images[row], offset(crop_y, what.crop), offset(crop_x, what.crop), what.crop, "reflect")
        image = moved(image, offset(shift_y, what.shift), offset(shift_x, what.shift), what.shift, "edge")
        if what.flip and flip < 0.5:
            image = image[:, ::-1]
        results.append(image.transpose(2, 0, 1))
    return np.stack(results)


def assert_as_one_by_one(images: np.ndarray, rows: np.ndarray, draws: np.ndarray, what: Augmentation) -> None:
    result = augment(torch.from_numpy(images), torch.from_numpy(rows), torch.from_numpy(draws), what)
    assert result.dtype == torch.uint8
    np.testing.assert_array_equal(result.numpy(), one_by_one(images, rows, draws, what))


SETTINGS = [
    Augmentation(),
    Augmentation(crop=4),
    Augmentation(shift=2),
    Augmentation(flip=True),
    Augmentation(crop=3, flip=True),
    Augmentation(crop=2, shift=3, flip=True),
    Augmentation(crop=9, shift=9, flip=True),
    Augmentation(crop=25),
]


@pytest.mark.parametrize("what", SETTINGS, ids=str)
@pytest.mark.parametrize("size", [1, 2, 8])
def test_each_image_is_cropped_shifted_and_flipped_by_its_own_draws(what, size):
    random = np.random.default_rng(size)
    images = random.integers(0, 256, (20, size, size, 3), np.uint8)
    rows = random.integers(0, 20, 200)
    draws = random.random((200, NUM_DRAWS)).astype(np.float32)
    before = images.copy()
    assert_as_one_by_one(images, rows, draws, what)
    np.testing.assert_array_equal(images, before)


@pytest.mark.parametrize("largest", [1, 2, 3, 4, 8, 16, 100])
def test_the_first_and_the_last_draw_reach_the_largest_offsets_and_no_further(largest):
    size = 2 * largest + 3
    images = np.random.default_rng(0).integers(0, 256, (1, size, size, 3), np.uint8)
    draws = np.array([[0, LAST, LAST, 0, 0.5], [LAST, 0, 0, LAST, 0.49999997], [0, 0, LAST, LAST, 0]], np.float32)
    rows = np.zeros(3, np.int64)
    assert_as_one_by_one(images, rows, draws, Augmentation(crop=largest, flip=True))
    assert_as_one_by_one(images, rows, draws, Augmentation(shift=largest, flip=True))


@pytest.mark.parametrize("name", ["crop", "shift"])
def test_offsets_are_uniform_and_independent_along_both_axes(name):
    size, largest, count = 9, 2, 20_000
    positions = np.arange(size)
    image = np.zeros((1, size, size, 3), np.uint8)
    image[0, :, :, 0], image[0, :, :, 1] = positions[:, None], positions[None, :]
    draws = torch.from_numpy(uniforms(0, 1, np.arange(count), NUM_DRAWS).astype(np.float32))
    rows = torch.zeros(count, dtype=torch.int64)
    centre = augment(torch.from_numpy(image), rows, draws, Augmentation(**{name: largest}))[:, :2, size // 2, size // 2]
    y, x = (centre.numpy().astype(int) - size // 2).T
    counts, _, _ = np.histogram2d(y, x, bins=np.arange(-largest, largest + 2) - 0.5)
    assert counts.sum() == count, "an offset is out of bounds"
    assert stats.chisquare(counts.ravel()).pvalue > 1e-3


def test_half_of_the_images_are_flipped():
    image = torch.tensor([[[[0] * 3, [1] * 3], [[0] * 3, [1] * 3]]], dtype=torch.uint8)
    draws = torch.from_numpy(uniforms(0, 1, np.arange(20_000), NUM_DRAWS).astype(np.float32))
    flipped = augment(image, torch.zeros(20_000, dtype=torch.int64), draws, Augmentation(flip=True))[:, 0, 0, 0]
    assert stats.binomtest(int(flipped.sum()), 20_000).pvalue > 1e-3


def test_the_result_is_stored_channels_last():
    images = torch.zeros(4, 8, 8, 3, dtype=torch.uint8)
    result = augment(images, torch.arange(4), torch.rand(4, NUM_DRAWS), Augmentation(crop=1))
    assert result.shape == (4, 3, 8, 8)
    assert result.is_contiguous(memory_format=torch.channels_last)
