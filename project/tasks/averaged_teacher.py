"""A student that learns from the average of its own earlier weights."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from project.tasks.classifier import Classifier
from project.tasks.teacher import Precision, Teacher


class _Copy(nn.Module):
    """What a teacher is asked for, of the student's own kind."""

    def __init__(self, student: Classifier) -> None:
        super().__init__()
        self.network = copy.deepcopy(student.network)
        self.normalize = copy.deepcopy(student.normalize)
        self.image_size = student.image_size
        self.class_names = student.class_names


class AveragedTeacher(Teacher):
    """The exponential moving average of a student's weights (Tarvainen and Valpola 2017, arXiv:1703.01780).

    After step t it keeps min(1 - 1 / (t + 1), decay) of itself, so that the first weights are soon forgotten. Buffers,
    such as batch-norm statistics, are the student's own; of several processes the first one's, as in a checkpoint.

    Args:
        student: the task whose network is averaged, as it is before its first step.
        decay: share of the old average that a step keeps, 0..1.
        precision: see `Teacher`.
    """

    def __init__(self, student: Classifier, decay: float, precision: Precision | None = None) -> None:
        members: list[Any] = [_Copy(student)]
        super().__init__(members, student.class_names, precision)
        self.decay = decay
        self.steps = 0

    @torch.no_grad()
    def update(self, student: Classifier) -> None:
        """Takes the student's share after an optimizer step."""
        self.steps += 1
        decay = min(1 - 1 / (self.steps + 1), self.decay)
        average = self.members[0].network
        torch._foreach_lerp_(list(average.parameters()), list(student.network.parameters()), 1 - decay)
        self.take_buffers(student.network.buffers())

    @torch.no_grad()
    def take_buffers(self, buffers: Iterable[Tensor]) -> None:
        """Copies buffers of the student.

        A process's own are in the student until its next forward pass, in which DDP gives all processes the first one's.
        """
        for old, new in zip(self.members[0].network.buffers(), buffers, strict=True):
            old.copy_(new)

    def share_buffers(self, broadcast: Callable[[list[Tensor]], list[Tensor]]) -> None:
        """Gives every process the first one's, where the student is not about to learn.

        Args:
            broadcast: returns the first process's value in each.
        """
        self.take_buffers(broadcast(list(self.members[0].network.buffers())))

    def state(self) -> dict[str, Any]:
        """What resuming needs."""
        return {"steps": self.steps, "network": self.members[0].network.state_dict()}

    def restore(self, state: dict[str, Any]) -> None:
        """Takes it back."""
        self.steps = state["steps"]
        self.members[0].network.load_state_dict(state["network"])
