"""New options on the command line hold after a resume; unchanged ones change nothing."""

from __future__ import annotations

import pytest
import torch
from torch.optim import SGD, Adam
from torch.optim.lr_scheduler import StepLR

from project.optim import OneCycle
from project.optim.options import GivenOptions


def made(lr: float, momentum: float = 0.9, gamma: float = 0.5) -> tuple[SGD, StepLR]:
    optimizer = SGD([torch.nn.Parameter(torch.ones(2))], lr=lr, momentum=momentum)
    return optimizer, StepLR(optimizer, 2, gamma)


def advanced(optimizer, scheduler, steps: int) -> tuple[dict, dict]:
    for _ in range(steps):
        parameter = optimizer.param_groups[0]["params"][0]
        parameter.grad = torch.ones_like(parameter)
        optimizer.step()
        scheduler.step()
    return optimizer.state_dict(), scheduler.state_dict()


def resumed(state: tuple[dict, dict], *made_anew):
    given = GivenOptions(*made_anew)
    for part, saved in zip(made_anew, state, strict=True):
        part.load_state_dict(saved)
    given.reapply()
    return made_anew


def test_new_options_hold_and_the_schedule_keeps_its_place():
    state = advanced(*made(0.1), steps=3)  # halved once
    optimizer, scheduler = resumed(state, *made(0.3, momentum=0.8, gamma=0.1))
    assert optimizer.param_groups[0]["momentum"] == 0.8
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.15)
    advanced(optimizer, scheduler, 1)  # the fourth step: the new factor
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.015)
    assert "momentum_buffer" in optimizer.state[optimizer.param_groups[0]["params"][0]]


def test_unchanged_options_change_no_bit():
    whole = made(0.1, gamma=0.3)
    advanced(*whole, steps=7)
    cut = made(0.1, gamma=0.3)
    optimizer, scheduler = resumed(advanced(*cut, steps=3), *made(0.1, gamma=0.3))
    optimizer.param_groups[0]["params"][0].data.copy_(cut[0].param_groups[0]["params"][0])
    advanced(optimizer, scheduler, 4)
    assert optimizer.param_groups[0]["lr"] == whole[0].param_groups[0]["lr"]
    assert torch.equal(optimizer.param_groups[0]["params"][0], whole[0].param_groups[0]["params"][0])


def test_a_rate_without_a_schedule_is_the_new_one():
    parameter = torch.nn.Parameter(torch.ones(1))
    state = Adam([parameter], lr=1e-3, betas=(0.8, 0.9)).state_dict()
    optimizer = Adam([parameter], lr=5e-4)
    given = GivenOptions(optimizer, None)
    optimizer.load_state_dict(state)
    given.reapply()
    assert optimizer.param_groups[0]["lr"] == pytest.approx(5e-4)
    assert optimizer.param_groups[0]["betas"] == (0.9, 0.999)


def test_a_shape_over_the_run_is_the_new_one():
    def anew(lr: float, warmup: float) -> tuple[SGD, OneCycle]:
        optimizer = SGD([torch.nn.Parameter(torch.ones(1))], lr=lr)
        scheduler = OneCycle(optimizer, warmup=warmup)
        scheduler.set_total_steps(10)
        return optimizer, scheduler

    optimizer, scheduler = resumed(advanced(*anew(1.0, 0.5), steps=6), *anew(2.0, 0.2))
    scheduler.apply()
    assert optimizer.param_groups[0]["lr"] == pytest.approx(2.0 * (1 - (0.6 - 0.2) / 0.8))
