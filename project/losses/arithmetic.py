"""What all distillation losses compute with: float32, whatever precision trains, and steps that cannot overflow.

Shapes: B images, K classes.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec

import torch
from torch import Tensor

_P = ParamSpec("_P")
_LOWEST_LOGIT = -1e15  # far below any logit, and its square is still a float32


def full_precision(loss: Callable[_P, Tensor]) -> Callable[_P, Tensor]:
    """Decorates a loss: its floats become float32 (float64 stays), and autocast is off inside.

    Sums of squares overflow float16 from 65,504 on, and bfloat16 has three digits, fewer than the softmax of a high
    temperature differs in.

    Args:
        loss: a function of tensors or sequences of them, or a module's `forward`.
    """

    @wraps(loss)
    def widened(*args: _P.args, **kwargs: _P.kwargs) -> Tensor:
        devices = [device for value in (*args, *kwargs.values()) for device in _devices(value)]
        with torch.autocast(devices[0], enabled=False):
            return loss(*map(_widen, args), **{name: _widen(value) for name, value in kwargs.items()})

    return widened


def log_probs(logits: Tensor, temperature: float) -> Tensor:
    """The logarithm of softmax(logits / temperature), (B, K), all of it finite.

    Of log-probabilities it makes those at that temperature, and -inf, which a mean of several teachers' probabilities
    may give, counts as a finite logit whose probability is 0.
    """
    return (logits.clamp(min=_LOWEST_LOGIT) / temperature).log_softmax(1)


def kl_divergence(teacher: Tensor, student: Tensor) -> Tensor:
    """Σ_k p_k (log p_k - log q_k), (B,), in nats, of log-probabilities (B, K): p the teacher's, q the student's.

    It is exactly 0 where both are equal.
    """
    return (teacher.exp() * (teacher - student)).sum(1)


def unit(vectors: Tensor, dim: int = -1, smallest: float = 1e-12) -> Tensor:
    """Vectors of length 1; those shorter than `smallest` become 0 and get no gradient, which would be infinite."""
    squares = vectors.square().sum(dim, keepdim=True)
    present = squares > smallest**2
    return torch.where(present, vectors * torch.where(present, squares, 1).rsqrt(), 0)


def _widen(value: Any) -> Any:
    if isinstance(value, Tensor) and value.is_floating_point():
        return value.to(torch.promote_types(value.dtype, torch.float32))
    if isinstance(value, (list, tuple)):
        return [_widen(each) for each in value]
    return value


def _devices(value: Any) -> list[str]:
    """The types of device that a value's tensors lie on."""
    if isinstance(value, (list, tuple)):
        return [device for each in value for device in _devices(each)]
    return [value.device.type] if isinstance(value, Tensor) else []
