"""Muon against singular value decompositions in float64, torch's own optimizers, and the rule written out."""

from __future__ import annotations

import copy
import io

import numpy as np
import pytest
import torch
from torch import nn

from project.errors import ConfigError
from project.optim import MuonSGD
from project.optim.muon import orthogonalize


def polynomial(values: np.ndarray, iterations: int) -> np.ndarray:
    """What the iteration makes of singular values, (Jordan 2024)."""
    values = values / np.linalg.norm(values)
    for _ in range(iterations):
        values = 3.4445 * values - 4.7750 * values**3 + 2.0315 * values**5
    return values


@pytest.mark.parametrize("shape", [(4, 4), (8, 27), (27, 8), (64, 216), (1, 9), (9, 1)])
@pytest.mark.parametrize("iterations", [1, 3, 5])
def test_it_keeps_the_singular_vectors_and_maps_the_values(shape, iterations):
    matrix = np.random.default_rng(0).normal(size=shape) * 1e-3
    u, s, vt = np.linalg.svd(matrix, full_matrices=False)
    expected = u * polynomial(s, iterations) @ vt
    found = orthogonalize(torch.from_numpy(matrix), iterations)
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-4, atol=1e-5)


def test_five_iterations_come_near_to_the_nearest_orthogonal_matrix():
    matrix = np.random.default_rng(1).normal(size=(32, 288))
    u, _, vt = np.linalg.svd(matrix, full_matrices=False)
    found = orthogonalize(torch.from_numpy(matrix), 5).double().numpy()
    values = np.linalg.svd(found, compute_uv=False)
    assert 0.5 < values.min() <= values.max() < 1.5
    assert np.sum(found * (u @ vt)) / np.linalg.norm(found) / np.sqrt(32) > 0.97  # the cosine between them


def test_of_nothing_it_makes_nothing():
    assert orthogonalize(torch.zeros(3, 5), 5).abs().max() == 0


# ---- steps


def test_what_is_no_filter_bank_follows_sgd():
    """A class token of zeros, (1, 1, D), would have no norm to be scaled by, and a layer's scale, (C, 1, 1), no filters."""
    token = nn.Parameter(torch.zeros(1, 1, 4))
    token.grad = torch.tensor([[[1.0, -2.0, 0.0, 4.0]]])
    MuonSGD([token], lr=0.1, sgd_lr=2.0, sgd_momentum=0.0).step()
    torch.testing.assert_close(token.detach(), -0.2 * token.grad)


def test_filters_of_zeros_stay_finite():
    filters = nn.Parameter(torch.zeros(2, 3, 1, 1))
    filters.grad = torch.ones(2, 3, 1, 1)
    MuonSGD([filters]).step()
    assert filters.isfinite().all()


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 9, 2)).double()


def gradients(module: nn.Module, step: int) -> None:
    generator = torch.Generator().manual_seed(step)
    for parameter in module.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)


OPTIONS = {"lr": 0.1, "momentum": 0.6, "sgd_lr": 0.5, "sgd_momentum": 0.85, "weight_decay": 0.01}


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("channels_last", [True, False])
def test_steps_are_the_rule_written_out(normalize, channels_last):
    module = network()
    if channels_last:
        module.to(memory_format=torch.channels_last)
    filters = module[0].weight.detach().numpy().copy()
    buffer = np.zeros_like(filters)
    optimizer = MuonSGD(module.parameters(), **OPTIONS, normalize=normalize, iterations=5)
    for step in range(4):
        gradients(module, step)
        gradient = module[0].weight.grad.numpy().copy()
        optimizer.step()
        buffer = 0.6 * buffer + gradient
        u, s, vt = np.linalg.svd((gradient + 0.6 * buffer).reshape(4, -1), full_matrices=False)
        filters *= 2 / np.linalg.norm(filters) if normalize else 1 - 0.1 * 0.01
        filters -= 0.1 * (u * polynomial(s, 5) @ vt).reshape(filters.shape)
        np.testing.assert_allclose(module[0].weight.detach().numpy(), filters, rtol=1e-4, atol=1e-5)


def test_what_is_no_filter_is_stepped_as_torchs_sgd_does():
    module, other = network(), network()
    optimizer = MuonSGD(module.parameters(), **OPTIONS)
    rest = [parameter for parameter in other.parameters() if parameter.ndim < 3]
    reference = torch.optim.SGD(rest, lr=0.05, momentum=0.85, weight_decay=0.01, nesterov=True)
    for step in range(4):
        gradients(module, step)
        gradients(other, step)
        optimizer.step()
        reference.step()
    for (name, ours), theirs in zip(module.named_parameters(), other.parameters(), strict=True):
        if ours.ndim < 3:
            torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12, msg=name)


def test_filters_are_stepped_as_torchs_muon_steps_their_matrix():
    """torch's momentum is a mean where ours is a sum, which makes no difference to the direction; it has 16 bits."""
    torch.manual_seed(0)
    filters, matrix = (nn.Parameter(torch.randn(8, 3, 3, 3)) for _ in range(2))
    matrix = nn.Parameter(filters.detach().flatten(1).clone())
    optimizer = MuonSGD([filters], lr=0.1, momentum=0.9, weight_decay=0.2, normalize=False, iterations=5)
    reference = torch.optim.Muon([matrix], lr=0.1, momentum=0.9, weight_decay=0.2, ns_steps=5)
    for _ in range(5):
        filters.grad = torch.randn_like(filters)
        matrix.grad = filters.grad.flatten(1).clone()
        optimizer.step()
        reference.step()
    torch.testing.assert_close(filters.flatten(1), matrix, rtol=0, atol=5e-3)


def test_what_has_no_gradient_stays():
    module = network()
    before = copy.deepcopy(module.state_dict())
    optimizer = MuonSGD(module.parameters(), **OPTIONS)
    optimizer.step()
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert not optimizer.state


def test_groups_have_their_own_decay_and_a_schedule_moves_both_kinds():
    module, other = network(), network()
    for net, lr in ((module, 0.1), (other, 0.2)):
        gradients(net, 0)
        weights = [p for p in net.parameters() if p.ndim > 1]
        biases = [p for p in net.parameters() if p.ndim == 1]
        groups = [{"params": weights}, {"params": biases, "weight_decay": 0.0}]
        optimizer = MuonSGD(groups, **OPTIONS | {"lr": 0.1})
        for group in optimizer.param_groups:
            group["lr"] = lr  # as a schedule does
        optimizer.step()
    start = network()
    for (name, at_start), one, two in zip(
        start.named_parameters(), module.parameters(), other.parameters(), strict=True
    ):
        base = at_start * (2 / at_start.norm()) if at_start.ndim > 2 else at_start
        torch.testing.assert_close(two - base, 2 * (one - base), rtol=1e-6, atol=1e-9, msg=name)


def test_a_saved_state_goes_on_bit_for_bit():
    whole, first = network(), network()
    optimizers = [MuonSGD(module.parameters(), **OPTIONS) for module in (whole, first)]
    for step in range(3):
        for module, optimizer in zip((whole, first), optimizers, strict=True):
            gradients(module, step)
            optimizer.step()
    file = io.BytesIO()
    torch.save([first.state_dict(), optimizers[1].state_dict()], file)
    file.seek(0)
    weights, state = torch.load(file, weights_only=True)
    second = network()
    second.load_state_dict(weights)
    resumed = MuonSGD(second.parameters(), **OPTIONS)
    resumed.load_state_dict(state)
    for step in range(3, 6):
        for module, optimizer in ((whole, optimizers[0]), (second, resumed)):
            gradients(module, step)
            optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), second.parameters(), strict=True))


def test_a_closure_is_run_with_gradients():
    module = network()
    loss = lambda: module(torch.ones(2, 3, 5, 5, dtype=torch.float64)).sum()  # noqa: E731

    def closure() -> torch.Tensor:
        value = loss()
        value.backward()
        return value

    before = module[0].weight.clone()
    assert torch.isfinite(MuonSGD(module.parameters(), lr=0.1).step(closure))
    assert not torch.equal(module[0].weight, before)


@pytest.mark.parametrize(
    ("options", "what"),
    [({"lr": -1.0}, "lr"), ({"sgd_lr": float("nan")}, "sgd_lr"), ({"momentum": 1.0}, "momentum"),
     ({"sgd_momentum": -0.1}, "sgd_momentum"), ({"weight_decay": -1.0}, "weight_decay")],
)  # fmt: skip
def test_a_rate_out_of_its_range_is_the_users_mistake(options, what):
    with pytest.raises(ConfigError, match=rf"^model\.optimizer\.{what}: [^\n]+$"):
        MuonSGD(network().parameters(), **options)
