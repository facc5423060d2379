"""Where numbers that are not finite come from: the first module that makes them of finite ones, or the first gradient."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn

ANOTHER = "another process's batch"


class Origin(NamedTuple):
    """What of a batch is not finite, and where first."""

    what: str
    """`the loss` or `the gradient`."""
    where: str
    """A module's or parameter's name, `the loss itself`, or `ANOTHER`."""
    rows: list[int] | None
    """Which samples of the batch have it there, where not all do."""


def find_origin(task: Any, batch: Any) -> Origin:
    """Runs the training step once more, and looks at what each module takes and gives, and then at the gradients.

    Gradients, random state and batch-norm statistics are left as they are; other buffers may change.

    Args:
        task: a `Task`, in training.
        batch: what its `training_step` takes.
    """
    found: list[tuple[str, list[int] | None]] = []
    device = task.trainer.strategy.root_device
    with (
        torch.random.fork_rng([device] if device.type == "cuda" else []),
        _watched(task, found),
        task.passing_again(),
        task.trainer.precision_plugin.forward_context(),
    ):
        loss = task.training_step(batch, 0)
        if not found:
            if not bool(loss.detach().isfinite().all()):
                return Origin("the loss", "the loss itself", None)
            return Origin("the gradient", _first_gradient(task, loss), None)
    name, rows = found[0]
    what = "the gradient" if bool(loss.detach().isfinite().all()) else "the loss"
    return Origin(what, name, rows)


@contextmanager
def _watched(task: LightningModule, found: list[tuple[str, list[int] | None]]) -> Iterator[None]:
    """Inside it the first module that makes infinite numbers, or none, of finite ones is noted in `found`."""

    def look(name: str, module: nn.Module, inputs: Any, output: Any) -> None:
        if found or not _is_bad(output) or _is_bad(inputs):
            return
        found.append((name, _bad_rows(output)))

    handles = [
        module.register_forward_hook(lambda module, inputs, output, name=name: look(name, module, inputs, output))
        for name, module in task.named_modules()
        if name and not any(module.children())
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _first_gradient(task: LightningModule, loss: Tensor) -> str:
    """The bad gradient that the backward pass meets first: that of the last parameter."""
    named = [(name, parameter) for name, parameter in task.named_parameters() if parameter.requires_grad]
    gradients = torch.autograd.grad(loss, [parameter for _, parameter in named], allow_unused=True)
    bad = [name for (name, _), gradient in zip(named, gradients, strict=True) if _is_bad(gradient)]
    if not bad:
        return ANOTHER if task.trainer.world_size > 1 else "the sum of finite gradients"
    return bad[-1]


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        if value.is_floating_point():
            yield value.detach()
    elif isinstance(value, dict):
        yield from _tensors(list(value.values()))
    elif isinstance(value, (list, tuple)):
        for each in value:
            yield from _tensors(each)


def _is_bad(value: Any) -> bool:
    return not all(bool(tensor.isfinite().all()) for tensor in _tensors(value))


def _bad_rows(value: Any) -> list[int] | None:
    tensor = next(tensor for tensor in _tensors(value) if _is_bad(tensor))
    if tensor.ndim < 2:
        return None
    bad = ~tensor.flatten(1).isfinite().all(1)
    return None if bool(bad.all()) else bad.nonzero()[:, 0].tolist()
