"""Muon for the filters of a network, and stochastic gradient descent for everything else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.optimizer import ParamsT

from project.errors import ConfigError

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)


class MuonSGD(Optimizer):
    """Steps of equal size in all directions of a filter bank; biases, norms and linear layers follow SGD.

    Jordan 2024, "Muon: An optimizer for hidden layers in neural networks": the momentum of a convolution, as a matrix of
    one row a filter, is replaced by the orthogonal matrix nearest to it. torch's own `Muon` takes matrices alone.
    Everything that is no convolution's filters, of four dimensions, is stepped as by `torch.optim.SGD`. Both have Nesterov's
    momentum.

    The length of a Muon step does not depend on the gradient's, so `lr` and `sgd_lr` have different units, and no
    gradient has to be scaled. A schedule moves both alike.

    Args:
        params: parameters, or groups of them; a group's `weight_decay` is its own.
        lr: learning rate of the filters.
        momentum: theirs.
        sgd_lr: learning rate of the rest, as a multiple of `lr`.
        sgd_momentum: momentum of the rest.
        weight_decay: of the rest, as SGD has it; of filters decoupled from the gradient, which `normalize` cancels.
        normalize: whether each filter bank is scaled to the norm √(number of filters) before its step, in the place of
            decay: batch norm takes no notice of a filter's length.
        iterations: of `orthogonalize`.

    Raises:
        ConfigError: a rate or a momentum is out of its range.
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float = 0.24,
        momentum: float = 0.6,
        sgd_lr: float = 7.0,
        sgd_momentum: float = 0.85,
        weight_decay: float = 0.0,
        normalize: bool = True,
        iterations: int = 3,
    ) -> None:
        for name, value in (("lr", lr), ("sgd_lr", sgd_lr), ("weight_decay", weight_decay)):
            if not 0 <= value < float("inf"):
                raise ConfigError(f"model.optimizer.{name}: must be at least 0; got {value}")
        for name, value in (("momentum", momentum), ("sgd_momentum", sgd_momentum)):
            if not 0 <= value < 1:
                raise ConfigError(f"model.optimizer.{name}: must be at least 0 and below 1; got {value}")
        options = {"momentum": momentum, "sgd_lr": sgd_lr, "sgd_momentum": sgd_momentum, "weight_decay": weight_decay}
        if iterations < 1:
            raise ValueError(f"Invalid iterations: {iterations}")
        super().__init__(params, {"lr": lr, **options, "normalize": normalize, "iterations": iterations})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Makes one step, and returns what the closure does."""
        loss = None if closure is None else torch.enable_grad()(closure)()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    step = self._muon if parameter.ndim == 4 else self._sgd
                    step(parameter, parameter.grad, group)
        return loss

    def _muon(self, filters: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        update = self._nesterov(filters, gradient, group["momentum"])
        if group["normalize"]:
            filters.mul_(len(filters) ** 0.5 / filters.norm().clamp(min=1e-7))
        else:
            filters.mul_(1 - group["lr"] * group["weight_decay"])
        filters.sub_(group["lr"] * orthogonalize(update.flatten(1), group["iterations"]).view_as(update))

    def _sgd(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        gradient = gradient.add(parameter, alpha=group["weight_decay"])
        update = self._nesterov(parameter, gradient, group["sgd_momentum"])
        parameter.sub_(update, alpha=group["lr"] * group["sgd_lr"])

    def _nesterov(self, parameter: Tensor, gradient: Tensor, momentum: float) -> Tensor:
        state = self.state[parameter]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(gradient)
        buffer = state["momentum_buffer"]
        buffer.mul_(momentum).add_(gradient)
        return gradient.add(buffer, alpha=momentum)


def orthogonalize(matrix: Tensor, iterations: int) -> Tensor:
    """Approximately the orthogonal matrix nearest to `matrix`: U V^T of its singular value decomposition U S V^T.

    A quintic Newton-Schulz iteration that lifts small singular values fast, and leaves all of them around 1 (between 0.5
    and 1.5) instead of at it. In 32 bits, where the steps of a convolution cost next to nothing beside its gradient.

    Args:
        matrix: (rows, columns) float.
        iterations: 3 are enough for the filters of a small network, 5 the usual number.

    Returns:
        (rows, columns) float32.
    """
    a, b, c = _COEFFICIENTS
    wide = matrix.float() if matrix.shape[0] <= matrix.shape[1] else matrix.float().T
    wide = wide / wide.norm().clamp(min=1e-7)
    for _ in range(iterations):
        gram = wide @ wide.T
        wide = a * wide + (b * gram + c * gram @ gram) @ wide
    return wide if matrix.shape[0] <= matrix.shape[1] else wide.T
