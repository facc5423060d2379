"""New options on the command line hold after a resume; unchanged ones change nothing."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch.optim import SGD, Adam, Optimizer
from torch.optim.lr_scheduler import (
    ChainedScheduler,
    ConstantLR,
    CosineAnnealingLR,
    CosineAnnealingWarmRestarts,
    CyclicLR,
    ExponentialLR,
    LambdaLR,
    LinearLR,
    LRScheduler,
    MultiplicativeLR,
    MultiStepLR,
    OneCycleLR,
    PolynomialLR,
    ReduceLROnPlateau,
    SequentialLR,
    StepLR,
)

from project.optim import OneCycle
from project.optim.options import GivenOptions


def stepped(lr: float, momentum: float = 0.9, gamma: float = 0.5) -> tuple[SGD, Callable[[Optimizer], LRScheduler]]:
    return SGD([torch.nn.Parameter(torch.ones(2))], lr=lr, momentum=momentum), partial(StepLR, step_size=2, gamma=gamma)


def advanced(optimizer: Optimizer, scheduler: LRScheduler, steps: int) -> tuple[dict, dict]:
    for _ in range(steps):
        parameter = optimizer.param_groups[0]["params"][0]
        parameter.grad = torch.ones_like(parameter)
        optimizer.step()
        scheduler.step()
    return optimizer.state_dict(), scheduler.state_dict()


def started(optimizer: Optimizer, make: Callable[[Optimizer], LRScheduler]) -> tuple[Optimizer, LRScheduler]:
    return optimizer, make(optimizer)


def resumed(state: tuple[dict, dict], optimizer: Optimizer, make: Callable[[Optimizer], LRScheduler], steps: int):
    """What a task does: the optimizer and its schedule are made and restored, and the schedule is placed."""
    given = GivenOptions(optimizer, make)
    optimizer.load_state_dict(state[0])
    given.scheduler.load_state_dict(state[1])
    given.reapply()
    return optimizer, given.placed(steps)


def test_new_options_hold_and_the_schedule_keeps_its_place():
    state = advanced(*started(*stepped(0.1)), steps=3)  # halved once
    optimizer, scheduler = resumed(state, *stepped(0.3, momentum=0.8, gamma=0.1), steps=3)
    assert optimizer.param_groups[0]["momentum"] == 0.8
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.03)  # as if the factor had been this from the start
    advanced(optimizer, scheduler, 1)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.003)
    assert "momentum_buffer" in optimizer.state[optimizer.param_groups[0]["params"][0]]


SCHEDULES = {
    "step": partial(StepLR, step_size=2, gamma=0.3),
    "milestones": partial(MultiStepLR, milestones=[2, 5], gamma=0.3),
    "exponential": partial(ExponentialLR, gamma=0.7),
    "cosine": partial(CosineAnnealingLR, T_max=12, eta_min=0.001),
    "cosine that climbs again": partial(CosineAnnealingLR, T_max=5),
    "restarts": partial(CosineAnnealingWarmRestarts, T_0=3, T_mult=2),
    "linear": partial(LinearLR, start_factor=0.2, total_iters=6),
    "constant": partial(ConstantLR, factor=0.2, total_iters=6),
    "polynomial": partial(PolynomialLR, total_iters=9, power=2),
    "lambda": partial(LambdaLR, lr_lambda=lambda step: 1 / (1 + step)),
    "multiplicative": partial(MultiplicativeLR, lr_lambda=lambda step: 0.9),
    "one cycle": partial(OneCycleLR, max_lr=0.3, total_steps=12),
    "cycles": partial(CyclicLR, base_lr=0.1, max_lr=0.3, step_size_up=3, mode="exp_range", gamma=0.9),
    "sequence": lambda o: SequentialLR(o, [LinearLR(o, 0.1, total_iters=3), ExponentialLR(o, 0.8)], [3]),
    "chain": lambda o: ChainedScheduler([ConstantLR(o, 0.1, total_iters=3), ExponentialLR(o, 0.8)]),
}


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("done", [0, 1, 4, 7])
def test_schedules_of_torchs_continue_bit_by_bit(name, done):
    make = SCHEDULES[name]
    whole = started(stepped(0.1)[0], make)
    advanced(*whole, steps=9)
    cut = started(stepped(0.1)[0], make)
    optimizer, scheduler = resumed(advanced(*cut, steps=done), stepped(0.1)[0], make, steps=done)
    optimizer.param_groups[0]["params"][0].data.copy_(cut[0].param_groups[0]["params"][0])
    advanced(optimizer, scheduler, 9 - done)
    for name in ("lr", "momentum"):
        assert optimizer.param_groups[0][name] == whole[0].param_groups[0][name]
    assert torch.equal(optimizer.param_groups[0]["params"][0], whole[0].param_groups[0]["params"][0])


@pytest.mark.parametrize(
    ("before", "after", "done"),
    [
        (partial(CosineAnnealingLR, T_max=4), partial(CosineAnnealingLR, T_max=8), 4),
        (partial(LinearLR, start_factor=1.0, end_factor=0.0, total_iters=4),
         partial(LinearLR, start_factor=1.0, end_factor=0.0, total_iters=8), 4),
        (partial(PolynomialLR, total_iters=4), partial(PolynomialLR, total_iters=8), 4),
        (partial(OneCycleLR, max_lr=0.4, total_steps=4), partial(OneCycleLR, max_lr=0.4, total_steps=8), 3),
        (partial(StepLR, step_size=2), partial(CosineAnnealingLR, T_max=8), 4),
    ],
    ids=["cosine", "linear", "polynomial", "one cycle", "another schedule"],
)  # fmt: skip
def test_a_schedule_of_torchs_that_is_extended_has_the_rates_of_the_longer_one(before, after, done):
    def used(optimizer: Optimizer, scheduler: LRScheduler, steps: int) -> list[tuple]:
        found = []
        for _ in range(steps):
            found.append((optimizer.param_groups[0]["lr"], optimizer.param_groups[0]["momentum"]))
            advanced(optimizer, scheduler, 1)
        return found

    reference = used(*started(stepped(0.4)[0], after), 7)
    state = advanced(*started(stepped(0.4)[0], before), done)
    assert used(*resumed(state, stepped(0.4)[0], after, done), 7 - done) == reference[done:]


def test_a_rate_without_a_schedule_is_the_new_one():
    parameter = torch.nn.Parameter(torch.ones(1))
    state = Adam([parameter], lr=1e-3, betas=(0.8, 0.9)).state_dict()
    optimizer = Adam([parameter], lr=5e-4)
    given = GivenOptions(optimizer, None)
    optimizer.load_state_dict(state)
    given.reapply()
    assert optimizer.param_groups[0]["lr"] == pytest.approx(5e-4)
    assert optimizer.param_groups[0]["betas"] == (0.9, 0.999)


def test_a_plateaus_rate_is_scaled_by_the_new_one():
    optimizer = stepped(0.1)[0]
    plateau = GivenOptions(optimizer, partial(ReduceLROnPlateau, patience=0)).scheduler
    for metric in (1.0, 2.0):  # lowered once
        plateau.step(metric)
    again = stepped(0.3)[0]
    given = GivenOptions(again, partial(ReduceLROnPlateau, patience=0))
    again.load_state_dict(optimizer.state_dict())
    given.scheduler.load_state_dict(plateau.state_dict())
    given.reapply()
    assert again.param_groups[0]["lr"] == pytest.approx(0.03)
    assert given.scheduler.best == 1.0


def test_a_shape_over_the_run_is_the_new_one():
    def made(optimizer: Optimizer, warmup: float) -> OneCycle:
        scheduler = OneCycle(optimizer, warmup=warmup)
        scheduler.follow(lambda: scheduler.last_epoch / 10)
        return scheduler

    optimizer = SGD([torch.nn.Parameter(torch.ones(1))], lr=1.0)
    state = advanced(optimizer, made(optimizer, 0.5), steps=6)
    optimizer = SGD([torch.nn.Parameter(torch.ones(1))], lr=2.0)
    given = GivenOptions(optimizer, partial(made, warmup=0.2))
    optimizer.load_state_dict(state[0])
    given.scheduler.load_state_dict(state[1])
    given.reapply()
    given.scheduler.apply()
    assert optimizer.param_groups[0]["lr"] == pytest.approx(2.0 * (1 - (0.6 - 0.2) / 0.8))
