"""MixUp and CutMix: each image with a share of its neighbour in the batch.

Shapes: B images, S × S pixels.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from scipy.special import betaincinv
from torch import Tensor

from project.data.augmentation.erasing import inside_box
from project.data.batch import Mixed

MIX_DRAWS = 4  # which of the two, share, box centre y and x


def mix(images: Tensor, labels: Tensor, draws: Tensor, cutmix_share: float) -> tuple[Tensor, Mixed]:
    """Mixes each image with the one before it in the batch, whose order is random.

    MixUp (Zhang et al. 2017, arXiv:1710.09412, eq. 1) takes `share` of every pixel's value; CutMix (Yun et al. 2019,
    arXiv:1905.04899, eq. 1) takes the pixels outside a box of area 1 - `share` around a uniform centre, cut at the
    border. Each sample has a share of its own; the papers draw one for a batch. Values are rounded to whole levels.

    Args:
        images: (B, S, S, 3) uint8.
        labels: (B,) int64.
        draws: (B, 4) float, on the same device: a uniform number below `cutmix_share` means CutMix; the share that an
            image keeps of itself, Beta-distributed; two uniform numbers.
        cutmix_share: probability of CutMix.

    Returns:
        (B, S, S, 3) uint8, and the partners' labels with the share of each image's own.
    """
    size, kept = images.shape[1], draws[:, 1]
    share = kept[:, None, None]
    if cutmix_share:
        inside = _cutmix_box(size, kept, draws[:, 2:])
        share = torch.where((draws[:, 0] < cutmix_share)[:, None, None], (~inside).float(), share)
    mixed = torch.lerp(images.roll(1, 0).float(), images.float(), share[..., None]).round_().to(torch.uint8)
    return mixed, Mixed(labels.roll(1, 0), share.mean((1, 2)))


def _cutmix_box(size: int, kept: Tensor, place: Tensor) -> Tensor:
    """The pixels that are replaced, (B, S, S) bool; `place`, (B, 2) in [0, 1), is the box's centre."""
    # whole pixels, as in the paper's code
    half = ((1 - kept).sqrt() * size / 2).floor()[:, None]
    centre = (place * size).floor()
    return inside_box(size, *(centre - half).unbind(1), *(centre + half).unbind(1))


def beta(uniforms: np.ndarray, alpha: float) -> np.ndarray:
    """Uniform numbers in [0, 1) as Beta(alpha, alpha) ones, through the quantile function."""
    return np.interp(uniforms, *_beta_quantiles(alpha))


@cache
def _beta_quantiles(alpha: float) -> tuple[np.ndarray, np.ndarray]:
    levels = (1 - np.cos(np.linspace(0, np.pi, 4097))) / 2  # closer at the ends, where the function is steep
    return levels, betaincinv(alpha, alpha, levels)
