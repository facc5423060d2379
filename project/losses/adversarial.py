"""Images that are changed a little to make the loss large: the inner maximum of adversarial training.

Shapes: B images of S × S pixels.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Generator, Tensor

LossOf = Callable[[Tensor], Tensor]
"""Images (B, 3, S, S) float in 0..255 to a scalar, the sum or mean over images."""

_BRIGHTEST = 255.0


def fgsm(loss_of: LossOf, images: Tensor, epsilon: float) -> Tensor:
    """The fast gradient sign method, x + ε sign ∇_x L (Goodfellow et al. 2015, arXiv:1412.6572, section 4).

    Args:
        loss_of: the loss that is to grow.
        images: (B, 3, S, S) uint8 or float in 0..255.
        epsilon: how far each pixel may move, in 0..255: 8 for what papers call 8/255.

    Returns:
        (B, 3, S, S) float32 in 0..255, without gradient.
    """
    images = images.detach().float()
    return _climb(loss_of, images, images, epsilon, epsilon)


def pgd(
    loss_of: LossOf,
    images: Tensor,
    epsilon: float,
    step_size: float,
    steps: int,
    generator: Generator | None = None,
) -> Tensor:
    """Projected gradient ascent from a random start within ε in L∞ (Madry et al. 2018, arXiv:1706.06083, section 2.1).

    One step is the fast method with a random start (Wong et al. 2020, arXiv:2001.03994).

    Args:
        loss_of: see `fgsm`.
        images: see `fgsm`.
        epsilon: see `fgsm`.
        step_size: how far each step moves a pixel, in 0..255.
        steps: how many.
        generator: of the start, on the images' device; torch's own by default.

    Returns:
        See `fgsm`.
    """
    images = images.detach().float()
    noise = torch.rand(images.shape, device=images.device, generator=generator)
    moved = (images + epsilon * (2 * noise - 1)).clamp_(0, _BRIGHTEST)
    for _ in range(steps):
        moved = _climb(loss_of, images, moved, epsilon, step_size)
    return moved


def _climb(loss_of: LossOf, images: Tensor, moved: Tensor, epsilon: float, step_size: float) -> Tensor:
    with torch.enable_grad():
        moved = moved.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(loss_of(moved), moved)
    stepped = moved.detach() + step_size * gradient.sign()
    return torch.clamp(stepped, images - epsilon, images + epsilon).clamp_(0, _BRIGHTEST)
