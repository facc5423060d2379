"""Who is decayed, seen by what an optimizer does."""

from __future__ import annotations

import torch
from torch import nn

from project.optim import decay_groups


def network() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2), nn.Embedding(5, 2))


def test_without_gradients_only_weights_shrink():
    """With zero gradients a step of SGD is p ← p - lr · decay · p, for the decayed ones alone."""
    torch.manual_seed(0)
    module = network()
    nn.init.normal_(module[1].weight)
    before = {name: p.detach().clone() for name, p in module.named_parameters()}
    for p in module.parameters():
        p.grad = torch.zeros_like(p)
    torch.optim.SGD(decay_groups(module), lr=0.5, weight_decay=0.1).step()
    for name, p in module.named_parameters():
        factor = 0.95 if name in {"0.weight", "3.weight", "4.weight"} else 1.0
        torch.testing.assert_close(p.detach(), before[name] * factor, rtol=1e-6, atol=0)


def test_each_trainable_parameter_is_in_one_group():
    module = network()
    module[3].weight = nn.Parameter(module[4].weight.detach())
    module[4].weight = module[3].weight  # shared by two layers
    module[0].requires_grad_(False)
    listed = [p for group in decay_groups(module) for p in group["params"]]
    expected = [module[1].weight, module[1].bias, module[3].weight, module[3].bias]
    assert sorted(map(id, listed)) == sorted(map(id, expected))


def test_sharded_parameters_are_judged_by_what_they_were():
    module = network()
    dimensions = {name: p.ndim for name, p in module.named_parameters()}
    before = [[p.numel() for p in group["params"]] for group in decay_groups(module)]
    for parameter in module.parameters():
        parameter.data = parameter.data.flatten()  # as fsdp does
    assert [[p.numel() for p in group["params"]] for group in decay_groups(module, None, dimensions)] == before
    assert len(decay_groups(module)) == 1


def test_there_is_no_empty_group():
    module = nn.Linear(3, 2, bias=False)
    assert [group["params"] for group in decay_groups(module)] == [[module.weight]]
    assert [group["weight_decay"] for group in decay_groups(nn.BatchNorm1d(3))] == [0.0]
    assert decay_groups(module.requires_grad_(False)) == []
