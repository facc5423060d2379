"""What becomes a file: which functions, of what, and that each computes what the task does."""

from __future__ import annotations

import pytest
import torch

from project.errors import ConfigError
from project.export.parity import pictures
from project.export.programs import first_state, programs_of


@torch.inference_mode()
def test_a_classifier_is_one_function_with_everything_inside(classifier):
    for views in (None, "flip_shift"):
        task = classifier(tta=views)
        (program,) = programs_of(task)
        assert (program.name, program.inputs, program.outputs) == ("", ("images",), ("probabilities",))
        assert program.examples[0].shape[1:] == (3, 16, 16)
        assert program.examples[0].dtype == torch.uint8
        images = pictures(5, 16)
        torch.testing.assert_close(program.module(images), task.probabilities(images), rtol=0, atol=1e-6)


def test_the_task_itself_is_left_as_it_is(classifier):
    task = classifier()
    programs_of(task)
    weight = task.network.stages["stem"][0].weight
    assert weight.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("options", "steps", "memory", "context"),
    [
        ({"attention": "none", "cell": "lstm", "layers": 2}, ["step"], 4, 0),
        ({"attention": "soft", "cell": "gru"}, ["step"], 1, 3),
        ({"attention": "top_down", "cell": "lstm", "bidirectional": True}, ["step", "backward"], 4, 3),
    ],
)
@torch.inference_mode()
def test_a_captioner_is_an_encoder_and_a_step_of_each_decoder(captioner, options, steps, memory, context):
    task = captioner(**options)
    encoder, *others = programs_of(task)
    assert encoder.name == "encoder"
    assert [each.name for each in others] == steps
    names = (*(f"memory_{i}" for i in range(memory)), *(f"context_{i}" for i in range(context)))
    assert encoder.outputs == tuple(f"{step}_{name}" for step in steps for name in names)
    images, size = pictures(4, 16), memory + context
    state, features = encoder.module(images), task(images)
    for number, (program, decoder) in enumerate(zip(others, task.network.decoders, strict=True)):
        assert program.inputs == ("words", *names)
        assert program.outputs == ("scores", *(f"next_memory_{i}" for i in range(memory)))
        mine = state[number * size : (number + 1) * size]
        for one, other in zip(mine, first_state(decoder.start(features)), strict=True):
            torch.testing.assert_close(one, other)
        scores, *following = program.module(torch.tensor([1, 4, 5, 6]), *mine)
        expected, _ = decoder.step(torch.tensor([[1], [4], [5], [6]]), *decoder.start(features))
        torch.testing.assert_close(scores, expected[:, 0])
        assert [part.shape for part in following] == [part.shape for part in mine[:memory]]


def test_an_ensemble_is_refused(captioner):
    task = captioner({"ensemble": ["other.ckpt"]})
    with pytest.raises(ConfigError, match=r"^model\.decoding\.ensemble: this captioner speaks together with other"):
        programs_of(task)
