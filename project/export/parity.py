"""Whether an exported program says what the network says that it was made of.

Shapes: B images of S × S pixels, R rows of a step, V words.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from project.export.caption import CaptionRunner, Run, advance, join_words
from project.models.captioning import CaptionDecoder, Features
from project.tasks import Captioner, Classifier, Task
from project.tasks.caption_search import cut_best

TOLERANCE = 1e-4
"""The largest difference of a probability that is still the same answer."""
BATCH_SIZES = (1, 2, 7)
_STEPS = 5


class ParityError(Exception):
    """An exported program gives other answers than the network; `str(error)` says how far they are."""


class Difference(NamedTuple):
    """The largest one of any probability, over a batch."""

    what: str
    batch_size: int
    value: float


def pictures(count: int, size: int) -> Tensor:
    """Images (B, 3, S, S) uint8 like photographs: smooth at large with fine noise, the first two black and white."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(count, 3, 4, 4, generator=generator)
    smooth = functional.interpolate(coarse, size=(size, size), mode="bicubic", align_corners=False)
    noise = 0.1 * torch.randn(count, 3, size, size, generator=generator)
    images = (255 * (smooth + noise).clamp(0, 1)).byte()
    images[0], images[1:2] = 0, 255
    return images


@torch.inference_mode()
def compare(task: Task, runs: list[Run], about: dict[str, Any]) -> list[Difference]:
    """The differences for every batch size.

    Args:
        task: in evaluation mode.
        runs: its programs, in the order of `programs_of`.
        about: what the files say.

    Raises:
        ParityError: one is above the tolerance, or an answer is another one.
    """
    assert isinstance(task, Captioner | Classifier)
    found = []
    for size in BATCH_SIZES:
        images = pictures(size, task.image_size)
        compared = (
            _of_captioner(task, runs, about, images)
            if isinstance(task, Captioner)
            else _of_classifier(task, runs[0], images)
        )
        for difference in compared:
            if not difference.value <= TOLERANCE:  # which NaN is not
                raise ParityError(f"{difference.what}: with a batch of {size} a probability differs by "
                                  f"{difference.value:.1e}, and {TOLERANCE:.0e} is allowed; nothing was written")  # fmt: skip
            found.append(difference)
    return found


def _of_classifier(task: Classifier, run: Run, images: Tensor) -> Iterator[Difference]:
    ours, theirs = task.probabilities(images), torch.from_numpy(run(images.numpy())[0])
    yield Difference("probabilities", len(images), _largest(ours, theirs))
    if not torch.equal(ours.argmax(1), theirs.argmax(1)):
        raise ParityError(f"probabilities: with a batch of {len(images)} the likeliest classes are others; nothing was "
                          "written")  # fmt: skip


def _of_captioner(task: Captioner, runs: list[Run], about: dict[str, Any], images: Tensor) -> Iterator[Difference]:
    features = task(images)
    encode, steps = runs[0], runs[1:]
    state = encode(images.numpy())
    size = len(state) // len(steps)
    words = torch.randint(len(about["vocabulary"]), (_STEPS, len(images)), generator=torch.Generator().manual_seed(0))
    words[0] = about["rules"]["start"]
    for number, (name, decoder, step) in enumerate(zip(about["steps"], task.network.decoders, steps, strict=True)):
        theirs = _said_by_program(step, state[number * size : (number + 1) * size], words)
        pairs = zip(_said_by(decoder, features, words), theirs, strict=True)
        yield Difference(name, len(images), max(_largest(*pair) for pair in pairs))
    found = cut_best(task.search([features], greedy=True), task.search.max_words).word_ids()
    ours = [join_words(task.vocabulary.decode(each[0]), about["unspaced"]) for each in found]
    captions = [each["caption"] for each in CaptionRunner(encode, steps, about).caption(images.numpy())]
    for one, other in zip(ours, captions, strict=True):
        if one != other:
            raise ParityError(f"captions: with a batch of {len(images)} '{one}' became '{other}'; nothing was written")


def _said_by(decoder: CaptionDecoder[Any, Any], features: Features, words: Tensor) -> Iterator[Tensor]:
    """Probabilities (R, V) of what follows each of words (T, R), by the network."""
    memory, context = decoder.start(features)
    for newest in words:
        scores, memory = decoder.step(newest[:, None], memory, context)
        yield scores[:, 0].softmax(1)


def _said_by_program(step: Run, state: list[np.ndarray], words: Tensor) -> Iterator[Tensor]:
    """The same by a program."""
    for newest in words:
        scores, state = advance(step, newest.numpy(), state)
        yield torch.from_numpy(scores).softmax(1)


def _largest(one: Tensor, other: Tensor) -> float:
    return (one - other).abs().max().item()
