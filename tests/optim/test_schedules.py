"""Learning rates step by step, against closed forms and torch's own schedules."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from jsonargparse import ArgumentParser
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, LRScheduler, MultiStepLR

from project.errors import ConfigError
from project.optim import OneCycle, Schedule, Steps, WarmupCosine

RATES = (0.4, 0.05)  # of two parameter groups


def optimizer() -> torch.optim.SGD:
    return torch.optim.SGD([{"params": [torch.nn.Parameter(torch.ones(1))], "lr": rate} for rate in RATES])


def rates(schedule: LRScheduler) -> list[float]:
    return [group["lr"] for group in schedule.optimizer.param_groups]


def last(schedule: Schedule, total: int) -> None:
    """Makes the run `total` of the schedule's steps long."""
    schedule.follow(lambda: min(schedule.last_epoch / total, 1.0))


def follow(schedule: LRScheduler, steps: int) -> np.ndarray:
    """The rates that each of the next steps is made with, (steps, groups)."""
    used = []
    for _ in range(steps):
        used.append(rates(schedule))
        schedule.optimizer.step()
        schedule.step()
    return np.array(used)


def one_cycle(step: int, total: int, warmup: float, start: float, end: float) -> float:
    return float(np.interp(step, [0, warmup * total, total], [start, 1, end]))


def warmup_cosine(step: int, total: int, warmup: float, start: float, end: float) -> float:
    if step < warmup * total:
        return start + (1 - start) * step / (warmup * total)
    done = min((step - warmup * total) / (total - warmup * total), 1)
    return end + (1 - end) * math.cos(math.pi * done / 2) ** 2


SHAPES = {OneCycle: (one_cycle, (0.25, 0.1, 0.0)), WarmupCosine: (warmup_cosine, (0.05, 0.01, 0.0))}
SETTINGS = [
    (kind, options, total)
    for kind, (_, defaults) in SHAPES.items()
    for options in (None, (0.3, 0.2, 0.1), (0.0, 0.5, 0.01))
    for total in (1, 40, 97)
]


def made(kind: type[Schedule], options: tuple[float, float, float] | None, total: int | None) -> Schedule:
    named = dict(zip(("warmup", "start", "end"), options or (), strict=False))
    schedule = kind(optimizer(), **named)
    if total is not None:
        last(schedule, total)
    return schedule


def expected(kind: type[Schedule], options: tuple | None, total: int, steps: range) -> np.ndarray:
    shape, defaults = SHAPES[kind]
    return np.outer([shape(step, total, *(options or defaults)) for step in steps], RATES)


@pytest.mark.parametrize(("kind", "options", "total"), SETTINGS)
def test_every_step_has_the_rate_of_the_closed_form_and_the_last_one_stays(kind, options, total):
    used = follow(made(kind, options, total), total + 5)
    np.testing.assert_allclose(used, expected(kind, options, total, range(total + 5)), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize(
    ("kind", "reference"),
    [
        (OneCycle, lambda o: LinearLR(o, start_factor=1.0, end_factor=1e-9, total_iters=30)),
        (WarmupCosine, lambda o: CosineAnnealingLR(o, T_max=30)),
    ],
)
def test_without_warm_up_they_decay_as_torchs_do(kind: type[Schedule], reference: Callable):
    ours = follow(made(kind, (0.0, 1.0, 0.0), 30), 30)
    np.testing.assert_allclose(ours, follow(reference(optimizer()), 30), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("kind", SHAPES)
def test_a_run_may_be_all_warm_up(kind):
    used = follow(made(kind, (1.0, 0.0, 0.0), 10), 10)
    np.testing.assert_allclose(used, np.outer(np.arange(10) / 10, RATES), rtol=1e-12)


@pytest.mark.parametrize("kind", SHAPES)
def test_before_the_length_is_known_the_rate_is_the_first_one(kind):
    start = SHAPES[kind][1][1]
    np.testing.assert_allclose(rates(made(kind, None, None)), np.multiply(start, RATES), rtol=1e-12)


@pytest.mark.parametrize("kind", SHAPES)
def test_the_state_holds_plain_numbers_and_neither_the_optimizer_nor_the_progress(kind):
    schedule = made(kind, None, 40)
    follow(schedule, 7)
    state = schedule.state_dict()
    assert state["last_epoch"] == 7
    assert not {"optimizer", "_progress"} & state.keys()
    assert all(isinstance(value, (int, float, bool, list, type(None))) for value in state.values())


def test_a_state_cannot_replace_the_progress():
    schedule = made(OneCycle, None, 40)
    schedule.load_state_dict(schedule.state_dict() | {"_progress": "x"})
    assert rates(schedule) == pytest.approx(np.multiply(0.1, RATES))


@pytest.mark.parametrize("kind", SHAPES)
@pytest.mark.parametrize(("done", "total"), [(13, 40), (13, 80), (40, 80)])
@pytest.mark.parametrize("told", ["before", "after"])
def test_a_resumed_run_follows_the_shape_of_its_new_length_from_its_first_step(kind, done, total, told):
    """Lightning makes the schedule, which the task gives its progress, and then restores optimizer and schedule."""
    first = made(kind, None, 40)
    follow(first, done)
    second = made(kind, None, total if told == "before" else None)
    second.optimizer.load_state_dict(first.optimizer.state_dict())
    second.load_state_dict(first.state_dict())
    if told == "after":
        last(second, total)
    used = follow(second, total - done)
    np.testing.assert_allclose(used, expected(kind, None, total, range(done, total)), rtol=1e-12, atol=1e-15)


# ---- Steps, which drops


def rate_at(schedule: Steps, step: int) -> float:
    schedule.last_epoch = step
    return schedule.get_lr()[0] / RATES[0]


@pytest.mark.parametrize(("milestones", "steps"), [((0.5, 0.75), [20, 30]), ((0.0, 0.1, 0.6), [0, 4, 24]), ((), [])])
def test_steps_are_torchs_multi_step(milestones, steps):
    schedule = Steps(optimizer(), milestones, gamma=0.3)
    last(schedule, 40)
    reference = MultiStepLR(optimizer(), steps, gamma=0.3)
    np.testing.assert_allclose(follow(schedule, 45), follow(reference, 45), rtol=1e-12)


@pytest.mark.parametrize("per_epoch", [391, 7, 1, 97_656])
def test_the_rate_drops_at_the_first_step_of_its_epoch(per_epoch):
    schedule = Steps(optimizer(), (0.625, 0.75, 0.875), gamma=0.1)
    last(schedule, 240 * per_epoch)
    for drops, epoch in enumerate((150, 180, 210)):
        first = epoch * per_epoch
        assert rate_at(schedule, first - 1) == pytest.approx(0.1**drops)
        assert rate_at(schedule, first) == pytest.approx(0.1 ** (drops + 1))


def test_shares_that_no_float_is_exactly_drop_at_their_step_as_well():
    """Times the number of steps they may be too high: 0.07 · 100 > 7."""
    for per_epoch in (1, 391, 1251):
        for thousandths in range(1, 1000):
            schedule = Steps(optimizer(), (thousandths / 1000,), gamma=0.5)
            last(schedule, 1000 * per_epoch)
            assert rate_at(schedule, thousandths * per_epoch - 1) == 1
            assert rate_at(schedule, thousandths * per_epoch) == 0.5


def test_steps_warm_up_first():
    schedule = Steps(optimizer(), (0.25, 0.5), gamma=0.5, warmup=0.1, start=0.2)
    last(schedule, 40)
    expected = [0.2, 0.4, 0.6, 0.8] + [1.0] * 6 + [0.5] * 10 + [0.25] * 25
    np.testing.assert_allclose(follow(schedule, 45), np.outer(expected, RATES), rtol=1e-12)


def test_steps_resume_on_the_shape_of_the_new_length():
    first = Steps(optimizer(), (0.5,))
    last(first, 20)
    follow(first, 12)
    state = first.state_dict()
    assert state["milestones"] == [0.5]
    second = Steps(optimizer())
    second.optimizer.load_state_dict(first.optimizer.state_dict())
    second.load_state_dict(state)
    last(second, 40)
    used = follow(second, 28)
    np.testing.assert_allclose(used, np.outer([1.0] * 8 + [0.1] * 20, RATES), rtol=1e-12)


def test_a_configuration_gives_milestones_as_a_list():
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(Steps, "schedule", instantiate=False, skip={"optimizer"})
    given = parser.parse_args(["--schedule", "project.optim.Steps", "--schedule.milestones", "[0.6, 0.9]"])
    options = given.schedule.init_args
    assert Steps(optimizer(), **options.as_dict()).milestones == [0.6, 0.9]
    default = parser.parse_args(["--schedule", "project.optim.Steps"]).schedule.init_args
    assert Steps(optimizer(), **default.as_dict()).milestones == [0.5, 0.75]


@pytest.mark.parametrize("milestones", [(0.75, 0.5), (0.5, 0.5), (-0.1, 0.5), (0.5, 1.1), (150, 180), (float("nan"),)])
def test_milestones_that_are_no_shares_are_the_users_mistake(milestones):
    with pytest.raises(ConfigError, match=r"^model\.lr_scheduler\.milestones: [^\n]+$"):
        Steps(optimizer(), milestones)


@pytest.mark.parametrize("kind", [OneCycle, WarmupCosine, Steps])
@pytest.mark.parametrize("warmup", [-0.1, 1.5, 5, float("nan")])
def test_a_warm_up_that_is_no_share_is_the_users_mistake(kind, warmup):
    with pytest.raises(ConfigError, match=r"^model\.lr_scheduler\.warmup: [^\n]+$"):
        kind(optimizer(), warmup=warmup)
