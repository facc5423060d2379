"""A program that answers otherwise is found out, however it does."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from project.export.about import describe
from project.export.parity import BATCH_SIZES, TOLERANCE, ParityError, compare, pictures
from project.export.programs import programs_of
from project.export.subject import Subject


def runs_of(task, change=lambda name, arrays: arrays):
    """The programs before they become files; `change` spoils what they give."""

    def run_of(program):
        @torch.no_grad()
        def run(*arrays):
            found = program.module(*map(torch.from_numpy, arrays))
            return change(program.name, [part.numpy() for part in (found if isinstance(found, tuple) else (found,))])

        return run

    return [run_of(program) for program in programs_of(task)]


def check(task, change=lambda name, arrays: arrays):
    return compare(task, runs_of(task, change), describe(Subject(task, None, "", {})))


def test_pictures_are_smooth_and_cover_the_range():
    images = pictures(7, 32)
    assert (images.dtype, tuple(images.shape)) == (torch.uint8, (7, 3, 32, 32))
    assert images[0].max() == 0
    assert images[1].min() == 255
    others = images[2:].double()
    assert others.min() < 20
    assert others.max() > 235
    beside = (others.diff(dim=3) ** 2).mean()
    assert beside < others.var()  # of noise it is twice the variance
    assert len(pictures(1, 8)) == 1


def test_the_same_answers_pass(classifier, captioner):
    found = check(classifier())
    assert [(each.what, each.batch_size) for each in found] == [("probabilities", size) for size in BATCH_SIZES]
    assert all(each.value < 1e-5 for each in found)
    found = check(captioner(bidirectional=True))
    assert [each.what for each in found] == ["step", "backward"] * 3
    assert all(each.value < 1e-5 for each in found)


def test_a_difference_is_measured(classifier):
    shifted = 0.5 * TOLERANCE
    found = check(classifier(), lambda _, arrays: [arrays[0] + np.float32(shifted)])
    assert all(each.value == pytest.approx(shifted, rel=1e-2) for each in found)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda a: a + np.float32(3e-4),
            r"^probabilities: with a batch of 1 a probability differs by 3\.0e-04, and 1e-04",
        ),
        (lambda a: a * np.float32("nan"), r"^probabilities: with a batch of 1 "),
        (lambda a: a[:, ::-1].copy(), r"^probabilities: with a batch of 1 "),
        (lambda a: a if len(a) < 7 else a[::-1].copy(), r"^probabilities: with a batch of 7 "),
    ],
)
def test_a_classifier_that_answers_otherwise(classifier, change, message):
    with pytest.raises(ParityError, match=message):
        check(classifier(), lambda _, arrays: [change(arrays[0])])


def test_another_likeliest_class_within_the_tolerance(classifier):
    task = classifier()
    task.temperature.fill_(1e5)  # all classes are nearly as likely
    with pytest.raises(ParityError, match=r"^probabilities: with a batch of 1 the likeliest classes are others"):
        check(task, lambda _, arrays: [arrays[0][:, ::-1].copy()])


@pytest.mark.parametrize("program", ["encoder", "step", "backward"])
def test_a_captioner_that_answers_otherwise(captioner, program):
    spoilt = lambda name, arrays: [arrays[0] * np.float32(1.1), *arrays[1:]] if name == program else arrays  # noqa: E731
    with pytest.raises(ParityError, match=f"^{'step' if program == 'encoder' else program}: with a batch of 1 a prob"):
        check(captioner(bidirectional=True), spoilt)


def test_a_state_that_is_lost_between_words(captioner):
    def frozen(name, arrays):
        return arrays if name == "encoder" else [arrays[0], *(0 * part for part in arrays[1:])]

    with pytest.raises(ParityError, match=r"^step: with a batch of 1 a probability differs"):
        check(captioner(), frozen)


def test_other_words_of_the_same_probabilities(captioner):
    task = captioner()
    about = describe(Subject(task, None, "", {}))
    about["vocabulary"][4:] = about["vocabulary"][:3:-1]
    with pytest.raises(ParityError, match=r"^captions: with a batch of \d '.*' became '.*'; nothing was written$"):
        compare(task, runs_of(task), about)
