"""Batched operations, against torchvision's functions on one image at a time."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import functional as F  # noqa: N812

from project.data.augmentation.operations import Operation, apply_operations

# torchvision adds `alpha * other` with one rounding or with two, as the processor and the place in memory have it, and
# cuts the fraction off: next to a whole number the last bit decides. Hue is another, shorter formula for the same.
# Likewise, half-way between two pixels, its grid follows from a product of matrices that each processor rounds in its way.
ONE_LEVEL = {Operation.COLOR, Operation.CONTRAST, Operation.SHARPNESS, Operation.HUE}

SHEARS = [*np.linspace(0, 0.99, 31), 0.5, 1, 1.5]
SHIFTS = [*np.linspace(0, 32, 31), 0.9, 8, 33, 100]
ANGLES = [*np.linspace(0, 135, 31), 1e-3, 30, 60, 180, 270, 359.9]  # half-way between pixels at 30, 45, 60, 135
FACTORS = [0, 0.01, *np.linspace(0.1, 1.9, 10), 1, 1.99, 5]
MAGNITUDES = {
    Operation.IDENTITY: [0, 3],
    Operation.SHEAR_X: [*SHEARS, *np.negative(SHEARS)],
    Operation.SHEAR_Y: [*SHEARS, *np.negative(SHEARS)],
    Operation.TRANSLATE_X: [*SHIFTS, *np.negative(SHIFTS)],
    Operation.TRANSLATE_Y: [*SHIFTS, *np.negative(SHIFTS)],
    Operation.ROTATE: [*ANGLES, *np.negative(ANGLES)],
    Operation.BRIGHTNESS: FACTORS,
    Operation.COLOR: FACTORS,
    Operation.CONTRAST: FACTORS,
    Operation.SHARPNESS: FACTORS,
    Operation.POSTERIZE: [*range(9), 3.7],
    Operation.SOLARIZE: [*np.linspace(0, 255, 31), 1, 254.5],
    Operation.AUTOCONTRAST: [0, 1],
    Operation.EQUALIZE: [0, 1],
    Operation.HUE: np.linspace(-0.5, 0.5, 21),
}

each_operation = pytest.mark.parametrize("operation", Operation, ids=lambda operation: operation.name)


def alone(image: torch.Tensor, operation: int, magnitude: float) -> torch.Tensor:
    """One image, (H, W, 3), with torchvision's function."""
    image = image.permute(2, 0, 1).contiguous()
    shear = math.degrees(math.atan(magnitude))
    still = {"angle": 0.0, "scale": 1.0}
    result = {
        Operation.IDENTITY: lambda: image,
        Operation.SHEAR_X: lambda: F.affine(image, translate=[0, 0], shear=[shear, 0.0], center=[0, 0], **still),
        Operation.SHEAR_Y: lambda: F.affine(image, translate=[0, 0], shear=[0.0, shear], center=[0, 0], **still),
        Operation.TRANSLATE_X: lambda: F.affine(image, translate=[int(magnitude), 0], shear=[0.0, 0.0], **still),
        Operation.TRANSLATE_Y: lambda: F.affine(image, translate=[0, int(magnitude)], shear=[0.0, 0.0], **still),
        Operation.ROTATE: lambda: F.rotate(image, magnitude),
        Operation.BRIGHTNESS: lambda: F.adjust_brightness(image, magnitude),
        Operation.COLOR: lambda: F.adjust_saturation(image, magnitude),
        Operation.CONTRAST: lambda: F.adjust_contrast(image, magnitude),
        Operation.SHARPNESS: lambda: F.adjust_sharpness(image, magnitude),
        Operation.POSTERIZE: lambda: F.posterize(image, int(magnitude)),
        Operation.SOLARIZE: lambda: F.solarize(image, magnitude),
        Operation.AUTOCONTRAST: lambda: F.autocontrast(image),
        Operation.EQUALIZE: lambda: F.equalize(image),
        Operation.HUE: lambda: F.adjust_hue(image, magnitude),
    }[Operation(operation)]()
    return result.permute(1, 2, 0)


def half_way(operation: int, magnitude: float, height: int, width: int) -> torch.Tensor:
    """Where the pixel of the image that is taken, in 64 bits, lies half-way between two; (H, W) bool."""
    columns, rows = np.arange(width) - (width - 1) / 2, np.arange(height)[:, None] - (height - 1) / 2
    cos, sin = math.cos(math.radians(magnitude)), math.sin(math.radians(magnitude))
    x, y = {
        Operation.SHEAR_X: lambda: (columns + magnitude * (rows + height / 2), rows),
        Operation.SHEAR_Y: lambda: (columns, rows + magnitude * (columns + width / 2)),
        Operation.ROTATE: lambda: (cos * columns - sin * rows, sin * columns + cos * rows),
    }.get(Operation(operation), lambda: (columns, rows))()
    off = [np.abs((place + (size - 1) / 2) % 1 - 0.5) for place, size in ((x, width), (y, height))]
    return torch.from_numpy(np.broadcast_to(np.minimum(*np.broadcast_arrays(*off)) < 1e-4, (height, width)).copy())


def pictures(height: int, width: int | None = None) -> torch.Tensor:
    """Black, white, one colour, gradients, a dull and a wide range, noise, and noise of two levels; (8, H, W, 3)."""
    width = width or height
    random = np.random.default_rng(height)
    y, x = np.linspace(0, 255, height)[:, None], np.linspace(0, 255, width)[None, :]
    shape = (height, width, 3)
    images = [
        np.zeros(shape),
        np.full(shape, 255),
        np.broadcast_to([10, 200, 77], shape),
        np.stack(np.broadcast_arrays(x, y, (x + y) / 2), 2),
        np.broadcast_to((50 + 0.3 * x + 0 * y)[..., None], shape),
        random.integers(90, 131, shape),
        random.integers(0, 256, shape),
        random.integers(0, 2, shape) * 255,
    ]
    return torch.from_numpy(np.stack(images).astype(np.uint8))


def assert_as_alone(images: torch.Tensor, operations: np.ndarray, magnitudes: np.ndarray) -> None:
    magnitudes = np.asarray(magnitudes, np.float32)
    before = images.clone()
    result = apply_operations(images, operations, torch.from_numpy(magnitudes))
    assert torch.equal(images, before), "the input was modified"
    assert result.dtype == torch.uint8
    assert result.shape == images.shape
    assert result.is_contiguous()
    expected = torch.stack([alone(*one) for one in zip(images, operations, magnitudes.tolist(), strict=True)])
    decided = torch.stack([~half_way(*one, *images.shape[1:3]) for one in zip(operations, magnitudes, strict=True)])
    assert decided.float().mean() > 0.8  # all of an odd by even image that turns by 90 degrees is half-way
    difference = ((result.int() - expected.int()).abs() * decided[..., None]).flatten(1)
    may_differ = torch.from_numpy(np.isin(operations, list(ONE_LEVEL)))
    assert not difference[~may_differ].any()
    if may_differ.any():
        assert difference[may_differ].max() <= 1
        assert difference[may_differ].float().mean() < 0.005


@pytest.mark.parametrize("size", [8, 32, 33])
@each_operation
def test_each_operation_is_that_of_torchvision(operation, size):
    images, magnitudes = pictures(size), np.array(MAGNITUDES[operation])
    repeated = images.repeat_interleave(len(magnitudes), 0)
    assert_as_alone(repeated, np.full(len(repeated), operation), np.tile(magnitudes, len(images)))


@pytest.mark.parametrize("shape", [(20, 33), (24, 7), (1, 1), (2, 5), (3, 3)])
@each_operation
def test_images_need_not_be_square_or_large(operation, shape):
    images, magnitudes = pictures(*shape), np.array(MAGNITUDES[operation])[::4]
    repeated = images.repeat_interleave(len(magnitudes), 0)
    assert_as_alone(repeated, np.full(len(repeated), operation), np.tile(magnitudes, len(images)))


@pytest.mark.parametrize("dtype", [np.int8, np.int64])
@pytest.mark.parametrize("kinds", [list(Operation), [Operation.ROTATE, Operation.EQUALIZE], [Operation.HUE]])
def test_a_mixed_batch_does_to_each_image_its_own(kinds, dtype):
    random = np.random.default_rng(0)
    operations = random.choice(kinds, 400).astype(dtype)
    magnitudes = np.array([random.choice(MAGNITUDES[kind]) for kind in operations])
    assert_as_alone(pictures(16)[random.integers(0, 8, 400)], operations, magnitudes)


@each_operation
def test_a_batch_of_one(operation):
    assert_as_alone(pictures(8)[-2:-1], np.array([operation]), np.array(MAGNITUDES[operation])[1:2])


def test_an_empty_batch():
    images = torch.zeros(0, 8, 8, 3, dtype=torch.uint8)
    assert apply_operations(images, np.zeros(0, np.int8), torch.zeros(0)).shape == images.shape


def test_columns_of_a_plan_may_be_passed_as_they_are():
    operations = np.array([[Operation.SHEAR_X, Operation.HUE], [Operation.SOLARIZE, Operation.COLOR]], np.int8)
    magnitudes = torch.tensor([[0.3, 0.2], [100.0, 0.5]])
    for column in range(2):
        images = pictures(8)[-2:]
        result = apply_operations(images, operations[:, column], magnitudes[:, column])
        copied = apply_operations(images, operations[:, column].copy(), magnitudes[:, column].clone())
        assert torch.equal(result, copied)


def test_the_device_is_never_asked_for_a_value():
    # tensors on `meta` have no values: whatever would wait for a GPU to know one raises an error here
    operations = np.arange(len(Operation)).repeat(2)
    images = torch.zeros(len(operations), 8, 8, 3, dtype=torch.uint8, device="meta")
    result = apply_operations(images, operations, torch.zeros(len(operations), device="meta"))
    assert result.shape == images.shape
    assert result.device.type == "meta"
