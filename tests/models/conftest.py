"""What the tests of networks share: weights that anyone can draw without a random generator."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from project.models import Backbone


def _spread(count: int, offset: float) -> torch.Tensor:
    """Numbers evenly spread over 0..1, in the order of multiples of the golden ratio."""
    return (torch.arange(count, dtype=torch.float64) * 0.6180339887 + offset) % 1


@pytest.fixture(scope="session")
def frozen_logits() -> Callable[[Backbone], list[float]]:
    """Three logits, in training mode, of a network of 100 classes with weights that follow from their order alone.

    The numbers that tests compare with were computed in the same way by the reference implementations
    (RepDistiller and mdistiller; kuangliu/pytorch-cifar for `preact_resnet18`).
    """

    def computed(network: Backbone) -> list[float]:
        network.double().train()
        floats = [tensor for tensor in network.state_dict().values() if tensor.is_floating_point()]
        for place, tensor in enumerate(floats):
            middle = 0.5 if tensor.dim() > 1 else 0
            tensor.copy_((_spread(tensor.numel(), 0.37 * place) - middle).view(tensor.shape))
        images = torch.sin(torch.arange(2 * 3 * 32 * 32, dtype=torch.float64) * 0.37).view(2, 3, 32, 32)
        with torch.no_grad():
            logits = network(images)
        return [logits[0, 0].item(), logits[0, 50].item(), logits[1, 99].item()]

    return computed


@pytest.fixture(scope="session")
def parameters() -> Callable[[Callable[..., Backbone], int], int]:
    """How many parameters a network has: (function, number of classes)."""

    def counted(build: Callable[..., Backbone], num_classes: int) -> int:
        with torch.device("meta"):
            return sum(p.numel() for p in build(num_classes, 32).parameters())

    return counted
