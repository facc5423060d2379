"""Test-time augmentation: the mean over several views of each image.

Shapes: B images, S × S pixels, K classes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

Views = Literal["flip", "flip_shift"]


def mean_logits(network: Callable[[Tensor], Tensor], images: Tensor, views: Views | None) -> Tensor:
    """Logits (B, K), averaged over views of the images.

    `flip` adds the mirror image. `flip_shift` looks at both also a 32nd of the side (one pixel of 32) up and to the
    left, and down and to the right; the two shifted pairs together count as much as the unshifted one (Jordan 2024,
    arXiv:2404.00498, section 3.5).

    Args:
        network: from (B, 3, S, S) to (B, K).
        images: (B, 3, S, S) of any dtype.
        views: which; `None` is the plain network.
    """
    if views is None:
        return network(images)
    logits = _mirrored(network, images)
    if views == "flip":
        return logits
    step = max(images.shape[-1] // 32, 1)
    shifted = [_mirrored(network, _shift(images, offset)) for offset in (-step, step)]
    return (logits + sum(shifted) / 2) / 2


def _mirrored(network: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    return (network(images) + network(images.flip(-1))) / 2


def _shift(images: Tensor, offset: int) -> Tensor:
    """Moved along both axes; the gap mirrors what is beside it."""
    size = images.shape[-1]
    source = torch.arange(size, device=images.device) - offset
    source = torch.where(source < 0, -source, source)
    source = torch.where(source >= size, 2 * (size - 1) - source, source)
    return images.index_select(-1, source).index_select(-2, source)
