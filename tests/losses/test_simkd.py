"""The teacher's classifier in the student's hands."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from project.losses.simkd import SimKD


def head() -> nn.Module:
    return nn.Sequential(nn.BatchNorm2d(6), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.5), nn.Linear(6, 10))


def test_the_projected_map_is_compared_and_classified():
    torch.manual_seed(0)
    teacher_head = head().eval()
    loss = SimKD((4, 4, 4), (6, 2, 2), teacher_head).eval()
    student, teacher = torch.randn(3, 4, 4, 4), torch.rand(3, 6, 2, 2)
    projected = loss.projector(student.reshape(3, 4, 2, 2, 2, 2).mean((3, 5)))
    assert projected.shape == teacher.shape
    assert (projected >= 0).all()
    assert loss(student, teacher).item() == pytest.approx((projected - teacher).square().mean().item(), rel=1e-6)
    torch.testing.assert_close(loss.logits(student), teacher_head(projected))
    both = loss.both(student, teacher)
    assert torch.equal(both[0], loss(student, teacher))
    assert torch.equal(both[1], loss.logits(student))


def test_the_student_may_have_the_smaller_map():
    loss = SimKD((4, 2, 2), (6, 4, 4), head())
    assert loss(torch.randn(3, 4, 2, 2), torch.randn(3, 6, 4, 4)).isfinite()
    assert loss.logits(torch.randn(3, 4, 2, 2)).shape == (3, 10)


def test_the_projector_has_fewer_channels_inside_and_may_give_negative_numbers():
    torch.manual_seed(0)
    loss = SimKD((4, 2, 2), (6, 2, 2), head(), reduction=3, relu=False)
    assert [conv.out_channels for conv in loss.projector if isinstance(conv, nn.Conv2d)] == [2, 2, 6]
    assert (loss.projector(torch.randn(3, 4, 2, 2)) < 0).any()


def test_the_classifier_is_a_frozen_copy_that_travels_in_the_state():
    teacher_head = head()
    loss = SimKD((4, 2, 2), (6, 2, 2), teacher_head)
    assert not loss.eval().projector.training
    loss.train()
    assert not any(module.training for module in loss.classifier.modules())
    assert loss.projector.training
    assert not any(p.requires_grad for p in loss.classifier.parameters())
    assert all(p.requires_grad for p in teacher_head.parameters())
    before = {name: value.clone() for name, value in loss.classifier.state_dict().items()}
    student = torch.randn(3, 4, 2, 2, requires_grad=True)
    loss.logits(student).sum().backward()
    assert student.grad.any()
    assert all(torch.equal(value, before[name]) for name, value in loss.classifier.state_dict().items())

    other = SimKD((4, 2, 2), (6, 2, 2), head())
    other.load_state_dict(loss.state_dict())
    torch.testing.assert_close(other.eval().logits(student), loss.eval().logits(student), rtol=0, atol=0)
