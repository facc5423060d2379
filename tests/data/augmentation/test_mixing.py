"""MixUp and CutMix, image by image, against torchvision's transforms and scipy's distribution."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats
from torchvision.transforms.v2 import functional as v2

from project.data.augmentation.mixing import MIX_DRAWS, beta, mix
from project.data.draws import uniforms

SIZE = 16


def images(count: int) -> torch.Tensor:
    return torch.randint(256, (count, SIZE, SIZE, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def draws(count: int) -> torch.Tensor:
    return torch.from_numpy(uniforms(1, 0, np.arange(count), MIX_DRAWS).astype(np.float32))


def test_mixup_is_the_papers_equation_with_a_share_of_each_images_own():
    pixels, labels, drawn = images(40), torch.arange(40), draws(40)
    mixed, what = mix(pixels, labels, drawn, 0.0)
    share = drawn[:, 1].double().numpy()[:, None, None, None]
    exact = share * pixels.numpy() + (1 - share) * np.roll(pixels.numpy(), 1, 0)
    assert np.abs(mixed.numpy() - exact).max() <= 0.5 + 1e-4, "rounded to the nearest level"
    torch.testing.assert_close(what.share, drawn[:, 1])
    assert what.labels.tolist() == [39, *range(39)]


def test_cutmix_is_the_papers_box_with_the_share_of_what_is_left():
    """As torchvision's CutMix computes box and share from its own draws."""
    pixels, drawn = images(200), draws(200)
    mixed, what = mix(pixels, torch.arange(200), drawn, 1.0)
    for i in range(200):
        _, share, y, x = drawn[i].double().tolist()
        half = int(0.5 * np.sqrt(1 - share) * SIZE)
        centre_y, centre_x = int(y * SIZE), int(x * SIZE)
        top, left = max(centre_y - half, 0), max(centre_x - half, 0)
        bottom, right = min(centre_y + half, SIZE), min(centre_x + half, SIZE)
        expected = pixels[i].clone()
        expected[top:bottom, left:right] = pixels[i - 1][top:bottom, left:right]
        assert torch.equal(mixed[i], expected)
        assert what.share[i].item() == pytest.approx(1 - (bottom - top) * (right - left) / SIZE**2)


def test_of_both_each_image_has_one_with_its_probability():
    pixels = images(2000)
    drawn = draws(2000)
    mixed, _ = mix(pixels, torch.arange(2000), drawn, 0.5)
    ups, cuts = mix(pixels, torch.arange(2000), drawn, 0.0)[0], mix(pixels, torch.arange(2000), drawn, 1.0)[0]
    is_cut = drawn[:, 0] < 0.5
    assert torch.equal(mixed[is_cut], cuts[is_cut])
    assert torch.equal(mixed[~is_cut], ups[~is_cut])
    assert stats.binomtest(int(is_cut.sum()), 2000).pvalue > 1e-3


@pytest.mark.parametrize("alpha", [0.1, 0.2, 0.4, 1.0, 8.0])
def test_shares_are_beta_distributed(alpha):
    numbers = uniforms(0, 0, np.arange(20_000), 1)[:, 0]
    assert stats.kstest(beta(numbers, alpha), stats.beta(alpha, alpha).cdf).pvalue > 1e-3
    np.testing.assert_allclose(beta(numbers, alpha), stats.beta(alpha, alpha).ppf(numbers), atol=2e-3)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_whole_share_is_one_of_the_two_images(share):
    pixels = images(4)
    drawn = torch.tensor([[0.9, share, 0.5, 0.5]] * 4)
    mixed, what = mix(pixels, torch.arange(4), drawn, 0.5)
    assert torch.equal(mixed, pixels if share else pixels.roll(1, 0))
    assert what.share.tolist() == [share] * 4


def test_an_image_alone_is_mixed_with_itself():
    pixels = images(1)
    for cutmix_share in (0.0, 1.0):
        mixed, what = mix(pixels, torch.tensor([7]), draws(1), cutmix_share)
        assert torch.equal(mixed, pixels)
        assert what.labels.tolist() == [7]


def test_a_mixed_image_is_brightness_for_brightness_between_the_two():
    """Against torchvision's own interpolation of two images."""
    pixels = images(3)
    drawn = torch.tensor([[0.9, 0.25, 0, 0]] * 3)
    ours = mix(pixels, torch.arange(3), drawn, 0.0)[0]
    theirs = v2.to_dtype(pixels, torch.float64).mul(0.25) + v2.to_dtype(pixels.roll(1, 0), torch.float64).mul(0.75)
    assert (ours.double() - theirs).abs().max() <= 0.5
