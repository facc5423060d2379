"""The functions that become files: of a classifier one, of a captioner its encoder and a step of each decoder.

Shapes: B images of S × S pixels, K classes, R rows of a step (a hypothesis each), V words.
"""

from __future__ import annotations

import copy
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from project.decoding.trees import Tree, tree_map, tree_tensors
from project.errors import ConfigError
from project.models.captioning import CaptionDecoder
from project.tasks import Captioner, Classifier, Task

_EXAMPLES = 2  # rows to trace with; one would be taken for a constant


class Program(NamedTuple):
    """One function of tensors, with a first axis of any length."""

    name: str
    """What the file's name gets; nothing where it is the only one."""
    module: nn.Module
    examples: tuple[Tensor, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    axis: str
    """What the first axis counts."""


class _Answer(nn.Module):
    """Probabilities (B, K) float32 of images (B, 3, S, S) uint8."""

    def __init__(self, task: Classifier) -> None:
        super().__init__()
        self.task = task

    def forward(self, images: Tensor) -> Tensor:
        return self.task.probabilities(images)


class _Encoder(nn.Module):
    """The state before the first word of every decoder, each tensor (B, ...), of images (B, 3, S, S) uint8."""

    def __init__(self, task: Captioner) -> None:
        super().__init__()
        self.task = task

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        features = self.task(images)
        return tuple(part for decoder in self.task.network.decoders for part in first_state(decoder.start(features)))


class _Step(nn.Module):
    """Scores (R, V) and the changing part of the next state, from the newest words (R,) int64 and the state."""

    def __init__(self, decoder: CaptionDecoder[Any, Any], memory: Tree, context: Tree) -> None:
        super().__init__()
        self.decoder = decoder
        self.shape = memory, context

    def forward(self, words: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        parts = iter(state)
        memory, context = (tree_map(lambda _: next(parts), tree) for tree in self.shape)
        memory = tree_map(lambda part: part[:, None], memory)  # one hypothesis of each image
        scores, memory = self.decoder.step(words[:, None], memory, context)
        return tuple(part[:, 0] for part in (scores, *tree_tensors(memory)))


def first_state(start: tuple[Tree, Tree]) -> list[Tensor]:
    """A decoder's memory and context as tensors (B, ...)."""
    memory, context = start
    return [part[:, 0] for part in tree_tensors(memory)] + list(tree_tensors(context))


@torch.no_grad()
def programs_of(task: Task) -> list[Program]:
    """All that answering takes, over a copy of the task.

    Raises:
        ConfigError: it takes other networks, too.
    """
    # a file holds numbers in the order of their axes, whatever the layout they were trained in
    task = copy.deepcopy(task).to(memory_format=torch.contiguous_format).requires_grad_(False)
    images = torch.zeros(_EXAMPLES, 3, task.image_size, task.image_size, dtype=torch.uint8)
    if isinstance(task, Classifier):
        return [Program("", _Answer(task), (images,), ("images",), ("probabilities",), "batch")]
    assert isinstance(task, Captioner)
    if task.search.decoding.ensemble:
        raise ConfigError("model.decoding.ensemble: this captioner speaks together with other checkpoints, and an export "
                          "holds one network; export one whose configuration names none")  # fmt: skip
    features = task(images)
    words = torch.zeros(_EXAMPLES, dtype=torch.int64)
    states, steps = [], []
    for name, decoder in zip(("step", "backward"), task.network.decoders, strict=False):
        memory, context = decoder.start(features)
        state = first_state((memory, context))
        changing = [f"memory_{i}" for i in range(len(list(tree_tensors(memory))))]
        names = (*changing, *(f"context_{i}" for i in range(len(state) - len(changing))))
        states += [f"{name}_{part}" for part in names]
        outputs = ("scores", *(f"next_{part}" for part in changing))
        steps.append(
            Program(name, _Step(decoder, memory, context), (words, *state), ("words", *names), outputs, "rows")
        )
    return [Program("encoder", _Encoder(task), (images,), ("images",), tuple(states), "batch"), *steps]
