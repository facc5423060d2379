"""Policies, against torchvision's tables and transforms, and against what is promised of their frequencies."""

from __future__ import annotations

import re
from itertools import permutations

import numpy as np
import pytest
import torch
from scipy import stats
from torchvision.transforms import v2

from project.data.augmentation.operations import Operation, apply_operations
from project.data.augmentation.policies import (
    JITTER_DRAWS,
    RAND_DRAWS,
    TRIVIAL_DRAWS,
    color_jitter,
    rand_augment,
    trivial_augment_wide,
)

COUNT = 40_000
LAST, LAST_32 = 1 - 2**-53, 1 - 2**-24  # the largest numbers below one in 64 and in 32 bits
FACTORS = (Operation.BRIGHTNESS, Operation.COLOR, Operation.CONTRAST, Operation.SHARPNESS)


def draws(count: int, columns: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((count, columns))


def torchvision_space(transform: type, image_size: int) -> dict[Operation, tuple[str, list[float], bool]]:
    """Operation → its name there, the 31 strengths, and whether they get a sign."""
    space = {}
    for name, (strengths, signed) in transform._AUGMENTATION_SPACE.items():
        values = strengths(31, image_size, image_size)
        values = [0.0] * 31 if values is None else values.tolist()
        space[Operation[re.sub(r"(?<=[a-z])(?=[XY]$)", "_", name).upper()]] = name, values, signed
    return space


def as_argument(operation: Operation, strength: float) -> np.float32:
    """What torchvision makes of a strength before it calls the function."""
    if operation in FACTORS:
        return np.float32(1.0 + strength)
    return np.float32(255 * strength if operation == Operation.SOLARIZE else strength)


# ---- TrivialAugment


def trivial_cases() -> tuple[np.ndarray, list[tuple[Operation, str, float]]]:
    """Draws for each operation, strength and sign, and what torchvision calls them."""
    rows, cases = [], []
    for operation, (name, strengths, signed) in torchvision_space(v2.TrivialAugmentWide, 32).items():
        for place, strength in enumerate(strengths):
            for sign, draw in ((-1, 0.0), (-1, np.nextafter(0.5, 0)), (1, 0.5), (1, LAST)):
                rows.append(((operation + 0.5) / 14, (place + 0.5) / 31, draw))
                cases.append((operation, name, sign * strength if signed else strength))
    return np.array(rows), cases


def test_trivial_augment_has_the_space_of_torchvision():
    rows, cases = trivial_cases()
    operations, magnitudes = trivial_augment_wide(rows)
    assert (operations.dtype, magnitudes.dtype) == (np.int8, np.float32)
    assert operations.shape == magnitudes.shape == (len(rows), 1)
    assert operations[:, 0].tolist() == [operation for operation, _, _ in cases]
    np.testing.assert_array_equal(magnitudes[:, 0], [as_argument(case[0], case[2]) for case in cases])


def test_trivial_augment_does_to_an_image_what_torchvision_does():
    random = np.random.default_rng(0)
    image = torch.from_numpy(random.integers(0, 256, (32, 32, 3), np.uint8))
    rows, cases = trivial_cases()
    operations, magnitudes = trivial_augment_wide(rows)
    result = apply_operations(image.repeat(len(rows), 1, 1, 1), operations[:, 0], torch.from_numpy(magnitudes[:, 0]))
    theirs, planes = v2.TrivialAugmentWide(), image.permute(2, 0, 1).contiguous()
    for (operation, name, strength), ours in zip(cases, result, strict=True):
        expected = theirs._apply_image_or_video_transform(planes, name, strength, "nearest", theirs._fill)
        difference = (ours.permute(2, 0, 1).int() - expected.int()).abs()
        # factors here are float32; just there a last bit may move a value by one level
        assert difference.max() <= (operation in FACTORS)
        assert difference.float().mean() < 0.005


def test_trivial_augment_draws_all_alike_often():
    operations, magnitudes = trivial_augment_wide(draws(COUNT, TRIVIAL_DRAWS))
    assert stats.chisquare(np.bincount(operations[:, 0], minlength=14)).pvalue > 1e-3
    for operation, (_, strengths, signed) in torchvision_space(v2.TrivialAugmentWide, 32).items():
        drawn = magnitudes[operations == operation]
        if len(set(strengths)) == 31:
            both = [-strength for strength in strengths] * signed + strengths
            values = np.array([as_argument(operation, strength) for strength in both])
            counts = (drawn == values[:, None]).sum(1)
            counts = counts.reshape(-1, 31)[:, 1:] if signed else counts  # zero has no sign
            assert stats.chisquare(counts.ravel()).pvalue > 1e-3
            assert counts.sum() > 0.9 * len(drawn)


def test_trivial_augment_changes_brightness_as_often_and_as_much_as_torchvision():
    random = np.random.default_rng(0)
    image = torch.from_numpy(random.integers(20, 180, (16, 16, 3), np.uint8))
    operations, magnitudes = trivial_augment_wide(draws(3000, TRIVIAL_DRAWS))
    images = image.repeat(3000, 1, 1, 1)
    ours = apply_operations(images, operations[:, 0], torch.from_numpy(magnitudes[:, 0])).float()
    torch.manual_seed(0)
    transform, planes = v2.TrivialAugmentWide(), image.permute(2, 0, 1).contiguous()
    theirs = torch.stack([transform(planes) for _ in range(3000)]).float()
    for statistic in (torch.mean, torch.std):
        samples = [statistic(images.flatten(1), 1).numpy() for images in (ours, theirs)]
        assert stats.ks_2samp(*samples).pvalue > 1e-3


# ---- RandAugment


@pytest.mark.parametrize("image_size", [32, 224])
@pytest.mark.parametrize("magnitude", [0, 9, 30])
def test_rand_augment_has_the_space_of_torchvision(magnitude, image_size):
    for operation, (_, strengths, signed) in torchvision_space(v2.RandAugment, image_size).items():
        for sign, draw in ((-1, 0.49), (1, 0.51)):
            # the second of two operations; the first is the identity
            row = np.array([[0.0, (operation + 0.5) / 14, 0.0, draw]])
            operations, magnitudes = rand_augment(row, 2, magnitude, image_size)
            assert (operations.dtype, magnitudes.dtype) == (np.int8, np.float32)
            assert operations.tolist() == [[Operation.IDENTITY, operation]]
            strength = strengths[magnitude] * (sign if signed else 1)
            np.testing.assert_array_equal(magnitudes, [[0, as_argument(operation, strength)]])


def test_rand_augment_draws_operations_and_signs_independently():
    operations, magnitudes = rand_augment(draws(COUNT, 3 * RAND_DRAWS), 3, 9, 32)
    assert operations.shape == magnitudes.shape == (COUNT, 3)
    for first, second in ((0, 1), (0, 2), (1, 2)):
        pairs, _, _ = np.histogram2d(operations[:, first], operations[:, second], bins=np.arange(15) - 0.5)
        assert pairs.sum() == COUNT
        assert stats.chisquare(pairs.ravel()).pvalue > 1e-3
    for round_ in range(3):
        signed = magnitudes[:, round_][operations[:, round_] == Operation.ROTATE]
        assert stats.binomtest(int((signed < 0).sum()), len(signed)).pvalue > 1e-3
    both = (operations[:, :2] == Operation.ROTATE).all(1)
    assert len(np.unique(magnitudes[both, :2], axis=0)) == 4, "the signs of two rounds are the same draw"


# ---- colour jitter


def test_color_jitter_draws_all_orders_alike_often():
    operations, _ = color_jitter(draws(COUNT, JITTER_DRAWS), 0.4, 0.4, 0.4, 0.1)
    assert operations.dtype == np.int8
    kinds = (Operation.BRIGHTNESS, Operation.CONTRAST, Operation.COLOR, Operation.HUE)
    counts = [(operations == order).all(1).sum() for order in permutations(kinds)]
    assert sum(counts) == COUNT
    assert stats.chisquare(counts).pvalue > 1e-3


@pytest.mark.parametrize("strengths", [(0.4, 0.3, 0.2, 0.1), (1.5, 2.0, 1.0, 0.5)])
def test_color_jitter_draws_factors_uniformly_over_the_ranges_of_torchvision(strengths):
    theirs = v2.ColorJitter(*strengths)
    operations, magnitudes = color_jitter(draws(COUNT, JITTER_DRAWS), *strengths)
    assert magnitudes.dtype == np.float32
    places = {}
    for kind, (low, high) in {
        Operation.BRIGHTNESS: theirs.brightness,
        Operation.CONTRAST: theirs.contrast,
        Operation.COLOR: theirs.saturation,
        Operation.HUE: theirs.hue,
    }.items():
        drawn = magnitudes[operations == kind]
        assert len(drawn) == COUNT
        assert drawn.min() >= np.float32(low)
        assert drawn.max() <= np.float32(high)
        assert stats.kstest(drawn, stats.uniform(low, high - low).cdf).pvalue > 1e-3
        places[kind] = (operations == kind).argmax(1)
        assert abs(np.corrcoef(drawn, places[kind])[0, 1]) < 0.03, "the factor depends on the place in the order"
    in_order = [magnitudes[operations == kind] for kind in places]
    assert (np.abs(np.corrcoef(in_order) - np.eye(4)) < 0.03).all()


@pytest.mark.parametrize("missing", range(4))
def test_color_jitter_leaves_out_what_has_no_strength(missing):
    strengths = [0.4, 0.4, 0.4, 0.1]
    strengths[missing] = 0.0
    kinds = [Operation.BRIGHTNESS, Operation.CONTRAST, Operation.COLOR, Operation.HUE]
    kinds[missing] = Operation.IDENTITY
    operations, _ = color_jitter(draws(100, JITTER_DRAWS), *strengths)
    np.testing.assert_array_equal(np.sort(operations, 1), np.tile(np.sort(kinds), (100, 1)))


# ---- all of them


@pytest.mark.parametrize("draw", [np.float64(0), np.float32(0.5), np.float64(LAST), np.float32(LAST_32)], ids=repr)
def test_the_first_and_the_last_draw_stay_within_the_space(draw):
    rows = np.full((2, 8), draw)
    assert rows.dtype == draw.dtype
    for operations, magnitudes in (
        trivial_augment_wide(rows),
        rand_augment(rows, 4, 30, 32),
        color_jitter(rows, 1, 1, 1, 0.5),
    ):
        assert set(operations.ravel()) <= set(Operation)
        assert np.isfinite(magnitudes).all()
    operations, _ = trivial_augment_wide(rows)
    assert operations[0, 0] == int(draw * 14)


def test_more_columns_than_needed_change_nothing():
    rows = draws(50, 12)
    for policy, count in (
        (trivial_augment_wide, TRIVIAL_DRAWS),
        (lambda rows: rand_augment(rows, 2, 9, 32), 2 * RAND_DRAWS),
        (lambda rows: color_jitter(rows, 0.4, 0.4, 0.4, 0.1), JITTER_DRAWS),
    ):
        for ours, cut in zip(policy(rows), policy(rows[:, :count]), strict=True):
            np.testing.assert_array_equal(ours, cut)
