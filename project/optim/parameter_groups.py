"""Which parameters are decayed."""

from __future__ import annotations

from typing import Any

from torch import nn


def decay_groups(module: nn.Module) -> list[dict[str, Any]]:
    """Two parameter groups: weights of two or more dimensions, and the rest (biases and norms), without decay.

    Decaying a norm's scale or a bias only shifts it and costs accuracy (He et al. 2019, arXiv:1812.01187, section 3.1).
    Frozen parameters are in neither.
    """
    trainable = [parameter for parameter in module.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trainable if p.ndim >= 2]},
        {"params": [p for p in trainable if p.ndim < 2], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]
