"""Length penalties, against their formulas."""

from __future__ import annotations

import pytest
import torch

from project.decoding.length import LengthPenalty
from project.errors import ConfigError


def test_each_is_its_formula():
    sums, lengths = torch.tensor([-3.0, -4.0]), torch.tensor([1, 7])
    close = torch.testing.assert_close
    close(LengthPenalty().normalised(sums, lengths), sums)
    close(LengthPenalty("average").normalised(sums, lengths), torch.tensor([-3.0, -4 / 7]))
    close(LengthPenalty("average", 0.5).normalised(sums, lengths), torch.tensor([-3.0, -4 / 7**0.5]))
    close(LengthPenalty("gnmt", 0.6).normalised(sums, lengths), torch.tensor([-3.0, -4 / 2**0.6]))
    close(LengthPenalty("gnmt").normalised(sums, 7), sums / 2)
    for name in ("average", "gnmt"):
        assert torch.equal(LengthPenalty(name, 0.0).normalised(sums, lengths), sums)


@pytest.mark.parametrize("penalty", [LengthPenalty(), LengthPenalty("average"), LengthPenalty("average", 0.37),
                                     LengthPenalty("gnmt"), LengthPenalty("gnmt", 2.3)], ids=str)  # fmt: skip
def test_no_continuation_beats_the_bound_to_the_last_bit(penalty):
    generator = torch.Generator().manual_seed(0)
    sums = -torch.rand(10_000, generator=generator) * 30
    for steps in range(1, 20):
        # what costs nothing, and what costs next to nothing
        for later in (sums, sums - 1e-7 * torch.rand(10_000, generator=generator)):
            assert (penalty.normalised(later, steps) <= penalty.bound(sums, 19)).all()
    assert torch.equal(penalty.bound(sums, 19), penalty.normalised(sums, 19)), "and it can be reached"


@pytest.mark.parametrize("name", ["none", "average", "gnmt"])
def test_what_does_not_exist_stays_at_minus_infinity(name):
    nothing = torch.tensor([-torch.inf])
    penalty = LengthPenalty(name)
    assert penalty.normalised(nothing, 3).item() == penalty.bound(nothing, 9).item() == -torch.inf


def test_mistakes_are_said():
    with pytest.raises(
        ConfigError, match=r"^model\.decoding\.length_penalty: there is no 'avg'; did you mean 'average'"
    ):
        LengthPenalty("avg")
    for alpha in (-0.1, float("inf"), float("nan")):
        with pytest.raises(ConfigError, match=r"^model\.decoding\.length_penalty: its alpha must be 0 or more; got "):
            LengthPenalty("average", alpha)
