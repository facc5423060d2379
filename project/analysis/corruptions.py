"""Common corruptions of images, made in code: noise, blur, weather and what files do to pictures.

Ten of the fifteen of Hendrycks and Dietterich 2019, arXiv:1903.12261, at five severities, with the strengths of their
published data sets: those of CIFAR-10-C for images of up to 96 pixels, of ImageNet-C for larger ones. Fog is of another
random texture than theirs, and of larger images at the fourth severity thicker than at the third, where theirs is not.
Five are missing (frost, snow, glass and zoom blur, elastic), so that means over all of them compare runs of this codebase
and no others.

Shapes: B images of S × S pixels.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Generator, Tensor
from torch.nn import functional

SEVERITIES = (1, 2, 3, 4, 5)
_SMALL = 96  # pixels of a side, up to which the strengths are those of CIFAR-10-C

_Corruption = Callable[..., Tensor]


def corrupt(images: Tensor, name: str, severity: int, keys: Sequence[int], seed: int = 0) -> Tensor:
    """Images with one corruption, a function of each image, its key and the seed alone.

    Args:
        images: (B, 3, S, S) uint8.
        name: one of `CORRUPTIONS`.
        severity: 1 to 5.
        keys: of each image a number, such as its place in its split, that its random numbers follow from.
        seed: another seed, other random numbers.

    Returns:
        (B, 3, S, S) uint8, on the images' device.
    """
    function, small, large = CORRUPTIONS[name]
    strengths = small if images.shape[-1] <= _SMALL else large
    place = list(CORRUPTIONS).index(name)
    # without the severity: each is more of the same
    entropies = (np.random.SeedSequence([seed, key, place]) for key in keys)
    generators = [Generator().manual_seed(int(entropy.generate_state(1)[0])) for entropy in entropies]
    values = images.float() / 255
    corrupted = function(values, generators, strengths[severity - 1])
    return (255 * corrupted).round().clamp(0, 255).to(torch.uint8)


# ---- each takes images (B, 3, S, S) float32 in 0..1, a generator of each, and the strength; returns such images


def _gaussian_noise(images: Tensor, generators: list[Generator], deviation: float) -> Tensor:
    return images + deviation * _drawn(torch.randn, images, generators)


def _shot_noise(images: Tensor, generators: list[Generator], photons: float) -> Tensor:
    """Light comes in quanta, of which a white pixel has so many in the mean."""
    pairs = zip(images.cpu(), generators, strict=True)
    return torch.stack([torch.poisson(image * photons, generator) for image, generator in pairs]).to(images) / photons


def _impulse_noise(images: Tensor, generators: list[Generator], share: float) -> Tensor:
    """Salt and pepper: a share of all values becomes 0 or 1."""
    draws = _drawn(torch.rand, images, generators)
    return images.where(draws >= share, (draws < share / 2).float())


def _defocus_blur(images: Tensor, generators: list[Generator], strength: tuple[float, float]) -> Tensor:
    """The mean over a disc of this radius, whose edge is softened by a Gaussian of this deviation."""
    radius, softening = strength
    reach = math.ceil(radius)
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    disc = np.pad((x**2 + y**2 <= radius**2).astype(np.float64), 1 if radius <= 8 else 2)
    border = 1 if radius <= 8 else 2  # the published kernel has 3 × 3 or 5 × 5 values
    profile = np.exp(-(np.arange(-border, border + 1) ** 2) / (2 * softening**2))
    for axis in (0, 1):
        disc = np.apply_along_axis(lambda line: np.convolve(line, profile, "same"), axis, disc)
    kernel = torch.from_numpy(disc / disc.sum()).float()
    return _filtered(images, kernel.expand(len(images), -1, -1))


def _motion_blur(images: Tensor, generators: list[Generator], strength: tuple[int, float]) -> Tensor:
    """A trail of this length that fades by half a Gaussian, in a direction of up to 45° from the horizontal."""
    length, deviation = strength
    distance = torch.arange(length + 1, dtype=torch.float64)
    weights = torch.exp(-(distance**2) / (2 * deviation**2))
    angles = [(torch.rand(1, generator=each, dtype=torch.float64) - 0.5) * math.pi / 2 for each in generators]
    kernels = [_trail(distance * angle.cos(), distance * angle.sin(), weights / weights.sum()) for angle in angles]
    return _filtered(images, torch.stack(kernels))


def _fog(images: Tensor, generators: list[Generator], strength: tuple[float, float]) -> Tensor:
    """A grey veil of this thickness over a picture whose range stays the same.

    Its texture is noise at every scale down to a pixel, each half as large as the one before and weaker by a factor.
    """
    thickness, decay = strength
    size = images.shape[-1]
    fields = []
    for generator in generators:
        field, cells, weight = torch.zeros(1, 1, size, size), 2, 1.0
        while cells <= size:
            coarse = torch.rand(1, 1, cells, cells, generator=generator)
            field += weight * functional.interpolate(coarse, (size, size), mode="bilinear", align_corners=True)
            cells, weight = 2 * cells, weight / decay
        fields.append((field - field.min()) / (field.max() - field.min()))
    veil = torch.cat(fields).to(images)
    brightest = images.amax((1, 2, 3), keepdim=True)
    return (images + thickness * veil) * brightest / (brightest + thickness)


def _brightness(images: Tensor, generators: list[Generator], added: float) -> Tensor:
    """More of the value of hue, saturation and value, where hue and saturation stay."""
    value = images.amax(1, keepdim=True)
    brighter = (value + added).clamp(max=1)
    return torch.where(value > 0, images / value.clamp(min=1e-6) * brighter, brighter)


def _contrast(images: Tensor, generators: list[Generator], factor: float) -> Tensor:
    """Nearer to the mean colour of the image."""
    mean = images.mean((2, 3), keepdim=True)
    return mean + factor * (images - mean)


def _pixelate(images: Tensor, generators: list[Generator], share: float) -> Tensor:
    """As many blocks on a side as this share of its pixels, each of the mean colour of what it covers."""
    size = images.shape[-1]
    blocks = max(int(size * share), 1)
    edges = torch.arange(blocks + 1) * (size / blocks)
    pixels = torch.arange(size + 1.0)
    # of each block and pixel, the length that they share: a block's edge may lie within a pixel
    shared = torch.minimum(edges[1:, None], pixels[None, 1:]) - torch.maximum(edges[:-1, None], pixels[None, :-1])
    shared = shared.clamp(min=0).to(images)
    line = shared.T @ shared * (blocks / size)
    return line @ images @ line


def _jpeg(images: Tensor, generators: list[Generator], quality: int) -> Tensor:
    """As a JPEG file of this quality, 1 to 100, shows it."""
    found = []
    for pixels in (255 * images).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy():
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "JPEG", quality=quality)
        found.append(np.array(Image.open(file)))
    return torch.from_numpy(np.stack(found)).permute(0, 3, 1, 2).to(images) / 255


CORRUPTIONS: dict[str, tuple[_Corruption, Sequence[Any], Sequence[Any]]] = {
    "gaussian noise": (_gaussian_noise, (0.04, 0.06, 0.08, 0.09, 0.10), (0.08, 0.12, 0.18, 0.26, 0.38)),
    "shot noise": (_shot_noise, (500, 250, 100, 75, 50), (60, 25, 12, 5, 3)),
    "impulse noise": (_impulse_noise, (0.01, 0.02, 0.03, 0.05, 0.07), (0.03, 0.06, 0.09, 0.17, 0.27)),
    "defocus blur": (
        _defocus_blur,
        ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)),
        ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)),
    ),
    "motion blur": (
        _motion_blur,
        ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)),
        ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15)),
    ),
    "fog": (
        _fog,
        ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)),
        ((1.5, 2), (2, 2), (2.5, 1.7), (2.75, 1.5), (3, 1.4)),
    ),
    "brightness": (_brightness, (0.05, 0.1, 0.15, 0.2, 0.3), (0.1, 0.2, 0.3, 0.4, 0.5)),
    "contrast": (_contrast, (0.75, 0.5, 0.4, 0.3, 0.15), (0.4, 0.3, 0.2, 0.1, 0.05)),
    "pixelate": (_pixelate, (0.95, 0.9, 0.85, 0.75, 0.65), (0.6, 0.5, 0.4, 0.3, 0.25)),
    "jpeg": (_jpeg, (80, 65, 58, 50, 40), (25, 18, 15, 10, 7)),
}
"""By name: how, and the strengths of the five severities for small and for large images."""


# ---- what they have in common


def _drawn(draw: Callable[..., Tensor], images: Tensor, generators: list[Generator]) -> Tensor:
    """Random numbers for every value of the images, drawn on the host, where they are the same for every device."""
    return torch.stack([draw(images.shape[1:], generator=generator) for generator in generators]).to(images)


def _filtered(images: Tensor, kernels: Tensor) -> Tensor:
    """Each image (3, S, S) under its own kernel (B, k, k) with an odd k; beyond the edge the outermost pixels go on."""
    batch, channels, height, width = images.shape
    reach = kernels.shape[-1] // 2
    padded = functional.pad(images, (reach,) * 4, mode="replicate").flatten(0, 1)[None]
    weights = kernels.to(images).repeat_interleave(channels, 0)[:, None]
    return functional.conv2d(padded, weights, groups=batch * channels).view(batch, channels, height, width)


def _trail(x: Tensor, y: Tensor, weights: Tensor) -> Tensor:
    """A kernel (2 n - 1, 2 n - 1) float32 with n weights at places off its centre, each shared by the four cells around."""
    reach = len(weights) - 1
    side = 2 * reach + 3  # a cell more all around, for shares of 0
    kernel = torch.zeros(side * side, dtype=torch.float64)
    left, top = x.floor(), y.floor()
    for right in (0, 1):
        for below in (0, 1):
            share = (1 - (x - left - right).abs()) * (1 - (y - top - below).abs())
            cell = (top + below + reach + 1) * side + left + right + reach + 1
            kernel.index_add_(0, cell.long(), share * weights)
    return kernel.view(side, side)[1:-1, 1:-1].float()
