"""Where infinite numbers come from, in networks where it is known."""

from __future__ import annotations

from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from project.callbacks.nonfinite import Origin, find_origin


class Power(nn.Module):
    """x to some power: infinite at zero for negative ones."""

    def __init__(self, exponent: float) -> None:
        super().__init__()
        self.exponent = exponent

    def forward(self, x):
        return x.pow(self.exponent)


class Task(nn.Module):
    """Some layers with a sum as the loss, and of Lightning what is asked for."""

    def __init__(self, *layers: nn.Module, scale: float = 1.0) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)
        self.scale = scale
        plugin = SimpleNamespace(forward_context=lambda: torch.autocast("cpu", enabled=False))
        self.trainer = SimpleNamespace(
            precision_plugin=plugin, strategy=SimpleNamespace(root_device=torch.device("cpu")), world_size=1
        )

    @contextmanager
    def passing_again(self):
        yield

    def training_step(self, batch, batch_idx):
        return self.layers(batch).sum() * self.scale


def ones(out: int, size: int) -> nn.Linear:
    layer = nn.Linear(size, out, bias=False)
    nn.init.ones_(layer.weight)
    return layer


BATCH = torch.tensor([[1.0, 2.0], [0.0, 3.0], [4.0, 0.5]])


@pytest.mark.parametrize(
    ("layers", "scale", "expected"),
    [
        ((ones(2, 2), Power(-1.0), ones(2, 2)), 1.0, None),
        ((nn.Identity(), Power(-1.0), ones(2, 2)), 1.0, Origin("the loss", "layers.1", [1])),
        ((Power(-1.0), Power(2.0)), 1.0, Origin("the loss", "layers.0", [1])),
        ((ones(2, 2),), float("inf"), Origin("the loss", "the loss itself", None)),
        ((Power(1.0), ones(2, 2), Power(0.5)), 1.0, None),
        # the gradient of a root at zero: first seen in the layer behind which it lies
        ((ones(2, 2), nn.ReLU(), nn.Linear(2, 2, bias=False), Power(0.5)), 1.0, Origin("the gradient", "layers.2.weight", None)),
    ],
    ids=["none", "row", "first of two", "outside", "finite root", "gradient"],
)  # fmt: skip
def test_the_first_is_found(layers, scale, expected):
    task = Task(*layers, scale=scale)
    if expected and expected.what == "the gradient":
        nn.init.zeros_(task.layers[2].weight)
    found = find_origin(task, BATCH)
    assert found == (expected or Origin("the gradient", "the sum of finite gradients", None))


def test_it_leaves_gradients_and_hooks_as_they_were():
    task = Task(ones(2, 2), Power(-1.0))
    task.layers[0].weight.grad = torch.full((2, 2), 7.0)
    find_origin(task, BATCH)
    assert task.layers[0].weight.grad.tolist() == [[7.0, 7.0], [7.0, 7.0]]
    assert not any(module._forward_hooks for module in task.modules())
