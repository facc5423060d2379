"""Fusion from the last stage to the first, and the loss at several sizes."""

from __future__ import annotations

import pytest
import torch

from project.losses.review_kd import Fusion, ReviewKD, hierarchical

STUDENT = [(4, 8, 8), (6, 4, 4), (8, 2, 2)]
TEACHER = [(5, 8, 8), (7, 4, 4), (9, 2, 2)]


def maps(shapes: list[tuple[int, int, int]], seed: int, count: int = 3) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(count, *shape, generator=generator) for shape in shapes]


def pooled(x: torch.Tensor, side: int) -> torch.Tensor:
    step = x.shape[2] // side
    return x.reshape(*x.shape[:2], side, step, side, step).mean((3, 5))


@pytest.mark.parametrize(("size", "sides"), [(8, (4, 2, 1)), (4, (2, 1)), (2, (1,)), (1, ())])
def test_the_hierarchical_loss_is_a_weighted_mean_over_sizes(size, sides):
    torch.manual_seed(0)
    student, teacher = torch.randn(2, 3, 5, size, size, dtype=torch.float64)
    weights = [0.5 ** (place + 1) for place in range(len(sides))]
    squares = [(pooled(student, side) - pooled(teacher, side)).square().mean().item() for side in sides]
    expected = (student - teacher).square().mean().item() + sum(w * v for w, v in zip(weights, squares, strict=True))
    assert hierarchical(student, teacher).item() == pytest.approx(expected / (1 + sum(weights)), rel=1e-10)
    assert hierarchical(student, student).item() == 0


def test_a_fusion_weighs_place_by_place():
    torch.manual_seed(0)
    fusion = Fusion(4, 6, 5, first=False).eval()
    stage, later = torch.randn(2, 4, 4, 4), torch.randn(2, 6, 2, 2)
    output, carried = fusion(stage, later, (8, 8))
    entered = fusion.enter(stage)
    grown = later.repeat_interleave(2, 2).repeat_interleave(2, 3)
    share = torch.sigmoid(fusion.attention(torch.cat([entered, grown], 1)))
    mixed = entered * share[:, 0][:, None] + grown * share[:, 1][:, None]
    expected = mixed.repeat_interleave(2, 2).repeat_interleave(2, 3)
    torch.testing.assert_close(carried, expected)
    torch.testing.assert_close(output, fusion.leave(expected))


def test_convolutions_begin_as_published():
    torch.manual_seed(0)
    fusion = Fusion(64, 32, 48, first=True)
    for weight, fan_in in ((fusion.enter[0].weight, 64), (fusion.leave[0].weight, 9 * 32)):
        # Kaiming's bound for a leaky ReLU of slope 1: √3 √(2 / (1 + 1²)) / √fan_in
        assert weight.abs().max().item() == pytest.approx((3 / fan_in) ** 0.5, rel=0.01)


def test_the_review_goes_from_the_last_stage_to_the_first():
    torch.manual_seed(0)
    loss = ReviewKD(STUDENT, TEACHER).eval()
    assert loss.fusions[0].enter[0].out_channels == 8  # the last stage's
    assert [fusion.attention is None for fusion in loss.fusions] == [False, False, True]
    student, teacher = maps(STUDENT, 0), maps(TEACHER, 1)
    carried, total = None, 0.0
    for i in (2, 1, 0):
        output, carried = loss.fusions[i](student[i], carried, TEACHER[i][1:])
        total += hierarchical(output, teacher[i]).item()
    assert loss(student, teacher).item() == pytest.approx(total, rel=1e-6)
    assert ReviewKD(STUDENT, TEACHER, channels=3).fusions[1].enter[0].out_channels == 3


def test_later_stages_reach_the_first_one():
    loss = ReviewKD(STUDENT[:2], TEACHER[:2])
    student, teacher = maps(STUDENT[:2], 0), maps(TEACHER[:2], 1)
    student[1].requires_grad_()
    hierarchical(
        loss.fusions[0](student[0], loss.fusions[1](student[1], None, (4, 4))[1], (8, 8))[0], teacher[0]
    ).backward()
    assert student[1].grad.any()


def test_one_image_with_pooled_features_as_the_last_stage():
    shapes = [*STUDENT, (8, 1, 1)], [*TEACHER, (9, 1, 1)]
    loss = ReviewKD(*shapes)(maps(shapes[0], 0, count=1), maps(shapes[1], 1, count=1))
    loss.backward()
    assert loss.isfinite()
