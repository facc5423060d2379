"""Which operations are done to a sample and how strongly, as a function of its uniform random numbers.

All in numpy on the host: the batch is sorted by operation there, and nothing waits for a GPU.

Shapes: B samples, P random numbers a sample, R operations one after the other, K = 14 kinds of operation in the spaces
of TrivialAugment and RandAugment, M = 31 strengths of each.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import torch

from project.data.augmentation.operations import Operation

TRIVIAL_DRAWS = 3  # operation, strength, sign
RAND_DRAWS = 2  # operation and sign, for each operation
JITTER_DRAWS = 8  # four factors, and four that give the order

_KINDS = Operation.EQUALIZE + 1
_BINS = 31


def trivial_augment_wide(draws: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One of 14 operations at one of 31 strengths, all alike probable.

    TrivialAugment with the wide space (Müller and Hutter 2021, arXiv:2103.10158), which has no parameter to tune.

    Args:
        draws: (B, P) float in [0, 1), the first `TRIVIAL_DRAWS` are used.

    Returns:
        operations, (B, 1) int8, values of `Operation`, and their magnitudes, (B, 1) float32.
    """
    operations, bins = _choose(draws[:, 0:1], _KINDS), _choose(draws[:, 1:2], _BINS)
    return operations, _magnitudes(_wide_space(), operations, bins, draws[:, 2:3] < 0.5)


def rand_augment(
    draws: np.ndarray, num_operations: int, magnitude: int, image_size: int
) -> tuple[np.ndarray, np.ndarray]:
    """R of 14 operations one after the other, repeats allowed, all at the same strength.

    RandAugment (Cubuk et al. 2019, arXiv:1909.13719).

    Args:
        draws: (B, P) float in [0, 1), the first `RAND_DRAWS * num_operations` are used.
        num_operations: R.
        magnitude: 0 to 30, from weak to strong; 9 is the usual one.
        image_size: pixels on a side, which the farthest translation is a share of.

    Returns:
        operations, (B, R) int8, values of `Operation`, and their magnitudes, (B, R) float32.
    """
    operations = _choose(draws[:, :num_operations], _KINDS)
    negative = draws[:, num_operations : 2 * num_operations] < 0.5
    return operations, _magnitudes(_rand_space(image_size), operations, np.array(magnitude), negative)


def color_jitter(
    draws: np.ndarray, brightness: float, contrast: float, saturation: float, hue: float
) -> tuple[np.ndarray, np.ndarray]:
    """Brightness, contrast, saturation and hue, in an order drawn for each sample.

    Args:
        draws: (B, P) float in [0, 1), the first `JITTER_DRAWS` are used.
        brightness: its factor is uniform between max(0, 1 - brightness) and 1 + brightness.
        contrast: the same.
        saturation: the same.
        hue: 0 to 0.5; the turn is uniform between -hue and hue.

    Returns:
        operations, (B, 4) int8, values of `Operation`, those of strength 0 being the identity, and their magnitudes,
        (B, 4) float32.
    """
    strengths = np.array([brightness, contrast, saturation, hue], np.float64)
    kinds = np.array([Operation.BRIGHTNESS, Operation.CONTRAST, Operation.COLOR, Operation.HUE], np.int8)
    centres = np.array([1, 1, 1, 0])
    lowest, highest = np.maximum(centres - strengths, [0, 0, 0, -hue]), centres + strengths
    factors = lowest + draws[:, :4] * (highest - lowest)
    order = np.argsort(draws[:, 4:8], axis=1)
    operations = np.where(strengths > 0, kinds, np.int8(Operation.IDENTITY))[order]
    return operations, np.take_along_axis(factors, order, 1).astype(np.float32)


def _choose(draws: np.ndarray, count: int) -> np.ndarray:
    """A whole number from 0 to count - 1 for each draw, int8."""
    # in 64 bits a product with a number below one never reaches count
    return (draws.astype(np.float64) * count).astype(np.int8)


def _magnitudes(space: np.ndarray, operations: np.ndarray, bins: np.ndarray, negative: np.ndarray) -> np.ndarray:
    """Looked up in (K, M), with a sign where operations have one, (B, R) float32; factors are counted from one."""
    values = space[operations, bins]
    signed = (operations >= Operation.SHEAR_X) & (operations <= Operation.SHARPNESS)
    values = np.where(signed & negative, -values, values)
    return (values + (signed & (operations >= Operation.BRIGHTNESS))).astype(np.float32)


@cache
def _wide_space() -> np.ndarray:
    return _space(shear=0.99, translation=32.0, angle=135.0, factor=0.99, bits=6)


@cache
def _rand_space(image_size: int) -> np.ndarray:
    return _space(shear=0.3, translation=150.0 / 331.0 * image_size, angle=30.0, factor=0.9, bits=4)


def _space(shear: float, translation: float, angle: float, factor: float, bits: int) -> np.ndarray:
    """The strengths of each operation, from nothing to the most, (K, M) float64.

    Args:
        shear: the largest, as for all that follow.
        translation: in pixels.
        angle: in degrees.
        factor: the farthest from one.
        bits: how many are taken away.
    """
    most = {
        Operation.SHEAR_X: shear,
        Operation.SHEAR_Y: shear,
        Operation.TRANSLATE_X: translation,
        Operation.TRANSLATE_Y: translation,
        Operation.ROTATE: angle,
        Operation.BRIGHTNESS: factor,
        Operation.COLOR: factor,
        Operation.CONTRAST: factor,
        Operation.SHARPNESS: factor,
    }
    space = np.zeros((_KINDS, _BINS))
    # torch's linspace, which torchvision takes: numpy's differs in the last bits
    for operation, end in most.items():
        space[operation] = torch.linspace(0.0, end, _BINS).numpy()
    space[Operation.POSTERIZE] = np.rint(8 - np.arange(_BINS) * bits / (_BINS - 1))
    space[Operation.SOLARIZE] = 255 * torch.linspace(1.0, 0.0, _BINS).double().numpy()
    return space
