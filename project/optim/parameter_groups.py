"""Which parameters are decayed, and how fast each learns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn
from torch.optim import Optimizer


def decay_groups(
    module: nn.Module, lr_scale: Callable[[str], float] | None = None, dimensions: Mapping[str, int] = {}
) -> list[dict[str, Any]]:
    """Parameter groups: weights of two or more dimensions, and the rest (biases and norms), without decay.

    Decaying a norm's scale or a bias only shifts it and costs accuracy (He et al. 2019, arXiv:1812.01187, section 3.1).
    Frozen parameters are in none.

    Args:
        module: whose parameters.
        lr_scale: the factor of the learning rate of a parameter by its name; there are two groups for each factor.
            `scale_learning_rates` applies what is noted in them.
        dimensions: how many a parameter had before it was sharded, by its name; by default as many as it has.
    """
    groups: dict[tuple[float, bool], dict[str, Any]] = {}
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            scale, decayed = lr_scale(name) if lr_scale else 1.0, dimensions.get(name, parameter.ndim) >= 2
            if (scale, decayed) not in groups:
                options: dict[str, Any] = {} if decayed else {"weight_decay": 0.0}
                groups[scale, decayed] = {"params": [], **options, **({"lr_scale": scale} if scale != 1 else {})}
            groups[scale, decayed]["params"].append(parameter)
    # the largest rate first: it is the one that is logged
    return [groups[key] for key in sorted(groups, reverse=True)]


def scale_learning_rates(optimizer: Optimizer) -> None:
    """Multiplies each group's learning rate by its own factor, before a schedule takes the rates as the full ones."""
    for group in optimizer.param_groups:
        group["lr"] = group["lr"] * group.get("lr_scale", 1.0)
