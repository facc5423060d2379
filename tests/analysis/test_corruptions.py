"""Corruptions: what they do to pixels, and that nothing but image, key and seed decides."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage
from sklearn.datasets import load_sample_image

from project.analysis.corruptions import CORRUPTIONS, SEVERITIES, corrupt


def photographs(size: int, count: int = 6) -> torch.Tensor:
    """Parts of scikit-learn's photograph of a flower, scaled to a size."""
    whole = Image.fromarray(load_sample_image("flower.jpg"))
    parts = [whole.crop((60 * i, 20 * i, 60 * i + 300, 20 * i + 300)).resize((size, size)) for i in range(count)]
    return torch.from_numpy(np.stack([np.asarray(part) for part in parts])).permute(0, 3, 1, 2).contiguous()


def flat(value: int, size: int = 64, count: int = 1) -> torch.Tensor:
    return torch.full((count, 3, size, size), value, dtype=torch.uint8)


@pytest.mark.parametrize("name", CORRUPTIONS)
@pytest.mark.parametrize("size", [16, 128])
def test_severity_grows_and_pixels_stay_pixels(name, size):
    images = photographs(size)
    before = images.clone()
    distances = []
    for severity in SEVERITIES:
        worn = corrupt(images, name, severity, range(len(images)))
        assert worn.dtype == torch.uint8
        assert worn.shape == images.shape
        distances.append((worn.float() - images.float()).square().mean().item())
    assert distances == sorted(distances)
    assert distances[0] > 0
    assert distances[-1] > 1.5 * distances[0]
    assert (images == before).all()


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_an_image_is_corrupted_alike_in_every_company(name):
    images = photographs(32)
    together = corrupt(images, name, 3, [5, 2, 9, 11, 4, 8], seed=3)
    alone = corrupt(images[2:3], name, 3, [9], seed=3)
    assert (together[2:3] == alone).all()
    assert (corrupt(images, name, 3, [5, 2, 9, 11, 4, 8], seed=3) == together).all()


@pytest.mark.parametrize("name", ["gaussian noise", "shot noise", "impulse noise", "motion blur", "fog"])
def test_key_and_seed_decide_what_is_random(name):
    image = photographs(32, 1)
    one = corrupt(image, name, 3, [0])
    assert (corrupt(image, name, 3, [1]) != one).any()
    assert (corrupt(image, name, 3, [0], seed=1) != one).any()


def test_noise_has_the_published_strength():
    grey = flat(128, 96, 8)
    for severity, deviation in zip(SEVERITIES, (0.04, 0.06, 0.08, 0.09, 0.10), strict=True):
        noise = corrupt(grey, "gaussian noise", severity, range(8)).float() / 255 - 128 / 255
        assert noise.std().item() == pytest.approx(deviation, rel=0.02)
        assert noise.mean().item() == pytest.approx(0, abs=0.002)
    # of a Poisson distribution of c x, divided by c, the variance is x / c
    shot = corrupt(grey, "shot noise", 3, range(8)).float() / 255
    assert shot.var().item() == pytest.approx(128 / 255 / 100, rel=0.03)
    worn = corrupt(grey, "impulse noise", 5, range(8))
    assert (worn == 0).float().mean().item() == pytest.approx(0.035, abs=0.003)
    assert (worn == 255).float().mean().item() == pytest.approx(0.035, abs=0.003)
    assert set(worn.unique().tolist()) == {0, 128, 255}


def test_larger_images_have_imagenets_strengths():
    noise = corrupt(flat(128, 97, 4), "gaussian noise", 1, range(4)).float() / 255 - 128 / 255
    assert noise.std().item() == pytest.approx(0.08, rel=0.02)


def test_defocus_is_the_mean_over_a_soft_disc():
    point = flat(0, 33)
    point[..., 16, 16] = 255
    radius, softening = 1.5, 0.1
    y, x = np.mgrid[-3:4, -3:4]
    disc = ndimage.gaussian_filter((x**2 + y**2 <= radius**2).astype(float), softening, mode="constant", radius=1)
    spread = corrupt(point, "defocus blur", 5, [0])[0, 0].numpy()[13:20, 13:20]
    np.testing.assert_allclose(spread, 255 * disc / disc.sum(), atol=0.51)


def test_motion_leaves_a_trail_of_one_direction():
    point = flat(0, 65)
    point[..., 32, 32] = 255
    trail = corrupt(point, "motion blur", 5, [3])[0, 0].double()
    assert trail.sum().item() == pytest.approx(255, abs=8)  # each of some cells is rounded
    y, x = trail.nonzero().T - 32
    weights = trail[y + 32, x + 32] / trail.sum()
    covariance = np.cov(torch.stack([y, x]).numpy(), aweights=weights.numpy())
    narrow, wide = np.linalg.eigvalsh(covariance)
    assert wide > 6 * narrow
    assert x.min() >= -9
    assert x.max() <= 9


def test_brightness_and_contrast_by_hand():
    colour = torch.tensor([100, 50, 0], dtype=torch.uint8).view(1, 3, 1, 1).expand(1, 3, 8, 8)
    brighter = corrupt(colour, "brightness", 2, [0])[0, :, 0, 0].tolist()
    assert brighter == [126, 63, 0]  # the largest, 100 / 255, plus 0.1; the others in proportion
    halves = flat(0, 8)
    halves[..., 4:] = 200
    worn = corrupt(halves, "contrast", 3, [0])
    assert worn[0, 0, 0, [0, 7]].tolist() == [60, 140]  # 100 ± 0.4 · 100
    assert corrupt(flat(0, 8), "brightness", 1, [0]).unique().tolist() == [13]


def test_pixels_become_blocks_of_their_mean():
    images = photographs(128, 1)
    blocks = corrupt(images, "pixelate", 5, [0])  # a quarter of 128 pixels: blocks of 4
    mean = images.float().unfold(2, 4, 4).unfold(3, 4, 4).mean((4, 5))
    assert (blocks[..., ::4, ::4].float() - mean).abs().max() <= 0.51
    assert (blocks[..., 1::4, 3::4] == blocks[..., ::4, ::4]).all()


def test_jpeg_is_that_of_a_file():
    image = photographs(64, 1)
    file = io.BytesIO()
    Image.fromarray(image[0].permute(1, 2, 0).numpy()).save(file, "JPEG", quality=50)
    theirs = np.asarray(Image.open(file))
    assert (corrupt(image, "jpeg", 4, [0])[0].permute(1, 2, 0).numpy() == theirs).all()


def test_fog_keeps_the_brightest_value():
    white = flat(255, 32)
    white[..., :16, :] = 0
    worn = corrupt(white, "fog", 3, [0])
    assert worn.max() <= 255
    assert worn[..., :16, :].float().mean() > 20  # black becomes grey
