"""Against the paper's formula in float64 by hand, and against the optimizer inside."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, OneCycleLR
from torch.utils.data import DataLoader

from project.errors import ConfigError
from project.optim import SAM, OneCycle

BASES = {
    "sgd": partial(SGD, lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-2),
    "adamw": partial(AdamW, lr=0.05, weight_decay=0.1),
}


def network(dtype: torch.dtype = torch.float32) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3)).to(dtype)


def batches(count: int, dtype: torch.dtype = torch.float32) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(count, 16, 4, generator=generator, dtype=torch.float64).to(dtype)
    return list(zip(inputs, torch.randint(3, (count, 16), generator=generator), strict=True))


def groups(module: nn.Sequential) -> list[dict]:
    return [{"params": module[0].parameters()}, {"params": module[2].parameters(), "lr": 0.03}]


def closure_of(optimizer: Optimizer, module: nn.Module, batch: tuple[Tensor, Tensor]) -> Callable[[], Tensor]:
    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = functional.cross_entropy(module(batch[0]), batch[1])
        loss.backward()
        return loss

    return closure


def train(optimizer: Optimizer, module: nn.Module, data: list[tuple[Tensor, Tensor]]) -> list[Tensor]:
    return [optimizer.step(closure_of(optimizer, module, batch)) for batch in data]


def assert_same_bits(one: nn.Module, other: nn.Module) -> None:
    for a, b in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)


# ---- the formula


def nesterov(w, g, state, lr=0.1, momentum=0.9):
    state["m"] = momentum * state["m"] + g if state else g
    return w - lr * (g + momentum * state["m"])


def adamw(w, g, state, lr=0.1, decay=0.01, b1=0.9, b2=0.999):
    state["t"] = t = state.get("t", 0) + 1
    state["m"] = b1 * state.get("m", 0) + (1 - b1) * g
    state["v"] = b2 * state.get("v", 0) + (1 - b2) * g**2
    return w * (1 - lr * decay) - lr * state["m"] / (1 - b1**t) / (np.sqrt(state["v"] / (1 - b2**t)) + 1e-8)


@pytest.mark.parametrize(
    ("base", "update"),
    [
        (partial(SGD, lr=0.1, momentum=0.9, nesterov=True), nesterov),
        (partial(AdamW, lr=0.1, weight_decay=0.01), adamw),
    ],
)
def test_on_a_quadratic_it_is_the_papers_formula(base, update):
    """L = wᵀAw / 2 - bᵀw has the gradient Aw - b. The weights lie in two groups: one norm over both."""
    random = np.random.default_rng(0)
    root, b, w = random.normal(size=(5, 5)), random.normal(size=5), random.normal(size=5)
    a, rho, state = root @ root.T / 5, 0.3, {}
    parts = [nn.Parameter(torch.tensor(w[:2])), nn.Parameter(torch.tensor(w[2:]))]
    optimizer = SAM(base([{"params": [parts[0]]}, {"params": [parts[1]]}]), rho)

    def closure() -> Tensor:
        optimizer.zero_grad()
        at = torch.cat(parts)
        loss = at @ torch.tensor(a) @ at / 2 - torch.tensor(b) @ at
        loss.backward()
        return loss

    for _ in range(20):
        loss = optimizer.step(closure)
        assert loss.item() == pytest.approx(w @ a @ w / 2 - b @ w, rel=1e-10)
        g = a @ w - b
        w = update(w, a @ (w + rho * g / np.linalg.norm(g)) - b, state)
        np.testing.assert_allclose(torch.cat(parts).detach(), w, rtol=1e-9)


@pytest.mark.parametrize("base", BASES.values(), ids=BASES)
@pytest.mark.parametrize("rho", [0.05, 1.0])
def test_on_a_network_the_base_steps_by_the_gradient_found_uphill(base, rho):
    module, reference = network(torch.float64), network(torch.float64)
    optimizer, plain = SAM(base(groups(module)), rho), base(groups(reference))
    for inputs, labels in batches(10, torch.float64):

        def loss_at(weights: dict[str, Tensor], inputs: Tensor = inputs, labels: Tensor = labels) -> Tensor:
            return functional.cross_entropy(torch.func.functional_call(reference, weights, inputs), labels)

        gradients = torch.func.grad(loss_at)
        weights = {name: p.detach() for name, p in reference.named_parameters()}
        g = gradients(weights)
        norm = math.sqrt(sum((x**2).sum().item() for x in g.values()))
        uphill = gradients({name: w + rho * g[name] / norm for name, w in weights.items()})
        for name, p in reference.named_parameters():
            p.grad = uphill[name]
        plain.step()
        train(optimizer, module, [(inputs, labels)])
        for a, b in zip(module.parameters(), reference.parameters(), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("base", BASES.values(), ids=BASES)
def test_without_a_distance_it_is_the_base_bit_for_bit(base):
    module, reference = network(), network()
    optimizer, plain = SAM(base(groups(module)), rho=0.0), base(groups(reference))
    assert train(optimizer, module, batches(10)) == train(plain, reference, batches(10))
    assert_same_bits(module, reference)
    train(SAM(plain, rho=0.1), reference, batches(1))
    train(optimizer, module, batches(1))
    assert not torch.equal(module[0].weight, reference[0].weight)


def test_it_leaves_a_sharp_minimum_for_a_flat_one():
    """L = (ab - 1)² / 2 is least all along ab = 1, where its only curvature is a² + b²: 16 at (4, 1/4), 2 at (1, 1)."""
    curvatures = []
    for rho in (0.0, 0.2):
        w = nn.Parameter(torch.tensor([4.0, 0.2], dtype=torch.float64))
        optimizer = SAM(SGD([w], lr=0.05), rho)

        def closure(w: Tensor = w, optimizer: SAM = optimizer) -> Tensor:
            optimizer.zero_grad()
            loss = (w.prod() - 1) ** 2 / 2
            loss.backward()
            return loss

        for _ in range(500):
            loss = optimizer.step(closure)
        assert loss < 1e-3
        curvatures.append(w.square().sum().item())
    assert curvatures[0] > 16
    assert curvatures[1] < 3


# ---- what is left untouched


class RefusedError(Exception):
    pass


@pytest.mark.parametrize("failing", ["closure", "context"])
def test_after_a_failure_uphill_the_weights_have_their_bits_back(failing):
    module, seen = network(), []

    @contextmanager
    def second_pass() -> Iterator[None]:
        seen.append(copy.deepcopy(module))
        if failing == "context":
            raise RefusedError
        yield

    optimizer = SAM(SGD(module.parameters(), lr=0.1), rho=0.3, second_pass=second_pass)
    before, good = copy.deepcopy(module), closure_of(optimizer, module, batches(1)[0])

    def closure() -> Tensor:
        if seen:
            raise RefusedError
        return good()

    with pytest.raises(RefusedError):
        optimizer.step(closure)
    assert_same_bits(module, before)
    climbed, here = (nn.utils.parameters_to_vector(each.parameters()) for each in (seen[0], before))
    assert (climbed - here).norm().item() == pytest.approx(0.3, rel=1e-5)


def test_the_base_steps_from_weights_with_their_bits_back():
    """With a rate of zero nothing may be left of the climb, which rounding would leave if it were subtracted."""
    module = network()
    before = copy.deepcopy(module)
    train(SAM(SGD(module.parameters(), lr=0.0), rho=100.0), module, batches(3))
    assert_same_bits(module, before)


def test_only_the_second_pass_is_in_its_context_and_the_loss_is_the_first():
    module, passes, inside = network(), [], []

    @contextmanager
    def second_pass() -> Iterator[None]:
        inside.append(True)
        yield
        inside.clear()

    optimizer = SAM(SGD(module.parameters(), lr=0.1), 0.5, second_pass)
    inner = closure_of(optimizer, module, batches(1)[0])

    def closure() -> Tensor:
        assert torch.is_grad_enabled()
        passes.append((bool(inside), inner()))
        return passes[-1][1]

    with torch.no_grad():
        loss = optimizer.step(closure)
    assert [where for where, _ in passes] == [False, True]
    assert loss is passes[0][1]
    assert passes[1][1] > loss


def test_a_zero_gradient_and_no_gradient_are_no_trouble():
    used, flat, unused = (nn.Parameter(torch.tensor([1.0, -0.0])) for _ in range(3))
    optimizer = SAM(SGD([used, flat, unused], lr=0.1))

    def closure(factor: float) -> Callable[[], Tensor]:
        def run() -> Tensor:
            optimizer.zero_grad()
            loss = factor * used.sum() + 0 * flat.sum()
            loss.backward()
            return loss

        return run

    optimizer.step(closure(0.0))
    assert torch.equal(used, torch.tensor([1.0, 0.0]))
    optimizer.step(closure(2.0))
    torch.testing.assert_close(used, torch.tensor([0.8, -0.2]))
    assert torch.equal(flat, torch.tensor([1.0, 0.0]))
    assert unused.grad is None
    assert torch.equal(unused, torch.tensor([1.0, 0.0]))
    optimizer.zero_grad()
    optimizer.step(lambda: None)  # as of a batch that is skipped
    torch.testing.assert_close(used, torch.tensor([0.8, -0.2]))


def test_mistakes_are_named():
    module = network()
    with pytest.raises(TypeError, match="closure"):
        SAM(SGD(module.parameters(), lr=0.1)).step()
    for rho in (-0.1, float("nan"), float("inf")):
        with pytest.raises(ConfigError, match="rho"):
            SAM(SGD(module.parameters(), lr=0.1), rho)


# ---- an optimizer like others


@pytest.mark.parametrize("base", BASES.values(), ids=BASES)
def test_a_state_restored_in_mid_training_goes_on_with_the_same_bits(base):
    data, module = batches(10), network()
    optimizer = SAM(base(groups(module)))
    train(optimizer, module, data[:5])
    state, weights = copy.deepcopy(optimizer.state_dict()), copy.deepcopy(module.state_dict())
    train(optimizer, module, data[5:])

    again = network()
    again.load_state_dict(weights)
    resumed = SAM(base(groups(again)))
    resumed.load_state_dict(state)
    train(resumed, again, data[5:])
    assert_same_bits(module, again)

    plain = base(groups(network()))
    plain.load_state_dict(state)  # the layout is the base's
    assert plain.state_dict().keys() == state.keys()
    assert plain.state_dict()["param_groups"] == state["param_groups"]


def test_groups_and_state_stay_those_of_the_base():
    module = network()
    base = AdamW(groups(module)[:1], lr=0.1)
    optimizer = SAM(base)
    optimizer.add_param_group({"params": module[2].parameters()})
    train(optimizer, module, batches(2))
    optimizer.load_state_dict(optimizer.state_dict())
    assert optimizer.param_groups is base.param_groups
    assert optimizer.state is base.state
    assert optimizer.defaults is base.defaults
    assert len(base.param_groups) == 2
    assert len(base.state) == 4


def test_a_copy_has_all_of_it():
    module = network()
    optimizer = SAM(SGD(module.parameters(), lr=0.1, momentum=0.9), rho=0.2)
    train(optimizer, module, batches(3))
    twin, twins = copy.deepcopy((module, optimizer))
    train(optimizer, module, batches(3))
    train(twins, twin, batches(3))
    assert_same_bits(module, twin)


def test_step_hooks_run_once_a_step():
    module, called = network(), []
    optimizer = SAM(SGD(module.parameters(), lr=0.1))
    optimizer.register_step_pre_hook(lambda *_: called.append("before"))
    optimizer.register_step_post_hook(lambda *_: called.append("after"))
    train(optimizer, module, batches(1))
    assert called == ["before", "after"]


@pytest.mark.parametrize(
    "schedule",
    [
        partial(CosineAnnealingLR, T_max=6),
        partial(OneCycleLR, max_lr=0.3, total_steps=6),  # which cycles the momentum, too
        OneCycle,
    ],
)
def test_schedules_set_its_rates_as_the_bases(schedule):
    def rates(wrap: Callable[[Optimizer], Optimizer]) -> list[tuple]:
        module = network()
        optimizer = wrap(SGD(groups(module), lr=0.1, momentum=0.9))
        scheduler, used = schedule(optimizer), []
        if isinstance(scheduler, OneCycle):
            scheduler.follow(lambda: scheduler.last_epoch / 6)
        for batch in batches(6):
            used.append([(group["lr"], group["momentum"]) for group in optimizer.param_groups])
            train(optimizer, module, [batch])
            scheduler.step()
        return used

    assert rates(SAM) == rates(lambda base: base)


@pytest.mark.parametrize("around", ["closure", "step"])
def test_under_autocast_both_passes_see_their_own_weights(around):
    """autocast keeps 16-bit copies of the weights, which it would go on using uphill and after it."""
    module, reference = network(), network()
    autocast = partial(torch.autocast, "cpu", dtype=torch.bfloat16)
    optimizer, other = (SAM(SGD(m.parameters(), lr=0.5), rho=0.5) for m in (module, reference))
    for batch in batches(5):
        inner = closure_of(other, reference, batch)

        def closure(inner: Callable = inner) -> Tensor:
            with autocast():
                return inner()

        expected = other.step(closure)
        inside = closure_of(optimizer, module, batch)
        loss = autocast()(optimizer.step)(inside) if around == "step" else optimizer.step(autocast()(inside))
        assert torch.equal(loss, expected)
    assert_same_bits(module, reference)
    assert all(p.isfinite().all() for p in module.parameters())


class Toy(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.module = network()

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        return functional.cross_entropy(self.module(batch[0]), batch[1])

    def configure_optimizers(self) -> dict:
        optimizer = SAM(BASES["sgd"](groups(self.module)), rho=0.1)
        scheduler = CosineAnnealingLR(optimizer, T_max=10)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def test_lightning_trains_with_it_as_a_loop_does(tmp_path):
    toy, module = Toy(), network()
    trainer = Trainer(
        max_epochs=2, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=tmp_path,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Lightning: no workers, few batches
        trainer.fit(toy, DataLoader(batches(5), batch_size=None))
    assert trainer.global_step == 10
    assert isinstance(toy.optimizers(), SAM)
    assert toy.optimizers().param_groups is trainer.optimizers[0].base.param_groups
    optimizer = SAM(BASES["sgd"](groups(module)), rho=0.1)
    scheduler = CosineAnnealingLR(optimizer, T_max=10)
    for batch in batches(5) * 2:
        train(optimizer, module, [batch])
        scheduler.step()
    assert_same_bits(toy.module, module)
