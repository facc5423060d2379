"""A teacher that is the average of its student, against the same average in float64."""

from __future__ import annotations

import pytest
import torch

from project.tasks import Classifier
from project.tasks.averaged_teacher import AveragedTeacher


@pytest.fixture
def student() -> Classifier:
    torch.manual_seed(0)
    return Classifier(["a", "b", "c"], 16, backbone_options={"width": 4})


def change(student: Classifier, generator: torch.Generator) -> None:
    """What a step of training does."""
    with torch.no_grad():
        for parameter in student.network.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator))
        for buffer in student.network.buffers():
            buffer.add_(1)


def test_it_is_the_average_with_a_ramp_and_the_newest_statistics(student):
    teacher, generator = AveragedTeacher(student, 0.9), torch.Generator().manual_seed(1)
    expected = {name: value.double().clone() for name, value in student.network.named_parameters()}
    for step in range(1, 21):
        change(student, generator)
        teacher.update(student)
        decay = min(1 - 1 / (step + 1), 0.9)
        for name, value in student.network.named_parameters():
            expected[name] = decay * expected[name] + (1 - decay) * value.double()
    average = teacher.members[0].network
    for name, value in average.named_parameters():
        torch.testing.assert_close(value.double(), expected[name], rtol=0, atol=1e-5)
        assert not value.requires_grad
    for ours, theirs in zip(average.buffers(), student.network.buffers(), strict=True):
        assert torch.equal(ours, theirs)


def test_after_the_first_step_it_is_half_the_old_and_half_the_new(student):
    teacher = AveragedTeacher(student, 0.999)
    before = [parameter.clone() for parameter in student.network.parameters()]
    change(student, torch.Generator().manual_seed(1))
    teacher.update(student)
    for average, old, new in zip(
        teacher.members[0].network.parameters(), before, student.network.parameters(), strict=True
    ):
        torch.testing.assert_close(average, (old + new) / 2)


def test_it_goes_on_where_it_was(student):
    one, generator = AveragedTeacher(student, 0.9), torch.Generator().manual_seed(1)
    for _ in range(3):
        change(student, generator)
        one.update(student)
    other = AveragedTeacher(student, 0.9)
    other.restore(one.state())
    change(student, generator)
    for teacher in (one, other):
        teacher.update(student)
    assert one.fingerprint() == other.fingerprint()


def test_it_answers_in_evaluation_mode_whatever_the_student_does(student):
    teacher = AveragedTeacher(student, 0.9)
    student.train()
    images = torch.randint(256, (4, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    found = teacher(images).logits
    assert torch.equal(found, teacher(images).logits)
    torch.testing.assert_close(found, student.eval()(images))


def test_buffers_are_those_that_the_student_has_when_the_teacher_is_asked(student):
    """As another process's, which a forward pass of DDP gives it after the step."""
    teacher, generator = AveragedTeacher(student, 0.9), torch.Generator().manual_seed(1)
    change(student, generator)
    teacher.update(student)
    others = [buffer + 1 for buffer in student.network.buffers()]
    for buffer, other in zip(student.network.buffers(), others, strict=True):
        buffer.copy_(other)
    teacher.take_buffers(student.network.buffers())
    weights = [parameter.clone() for parameter in teacher.members[0].network.parameters()]
    assert all(map(torch.equal, teacher.members[0].network.buffers(), others))
    teacher.share_buffers(lambda buffers: [buffer - 1 for buffer in buffers])
    assert all(torch.equal(a, b - 1) for a, b in zip(teacher.members[0].network.buffers(), others, strict=True))
    assert all(map(torch.equal, teacher.members[0].network.parameters(), weights))
