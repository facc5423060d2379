"""Sharpness-aware minimisation, around any optimizer."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import get_total_norm
from torch.optim import Optimizer

from project.errors import ConfigError


class SAM(Optimizer):
    """Steps by the gradient at the worst weights nearby, which leads to flat minima that generalise better.

    Foret et al. 2020, arXiv:2010.01412: of the loss L at weights w, the gradient of `step` is that of L at
    w + rho · g / ‖g‖ with g = ∇L(w) (equation 2, p = 2), the norm over all parameters of all groups. It costs two forward
    and two backward passes a step, and a copy of the weights.

    Groups, state and defaults are those of `base`, so schedules act on it, and checkpoints have the same layout with SAM
    and without. A schedule is made from this optimizer, not from `base`, where Lightning's Trainer runs it.

    The closure must compute the whole gradient by itself, which Lightning's does not if gradients are accumulated over
    several batches; nor is there a closure with a float16 gradient scaler. Each process must hold whole parameters
    (DDP does, FSDP does not).

    Args:
        base: makes the step.
        rho: how far to climb, in the units of the weights' L2 norm; 0 or more.
        second_pass: makes a context in which the closure runs for the second time, at weights that are not the
            network's own: statistics of batch norms, metrics and logs should not count what they see there.

    Raises:
        ConfigError: rho is negative or no number.
    """

    base: Optimizer
    rho: float
    second_pass: Callable[[], AbstractContextManager[Any]]

    def __init__(
        self,
        base: Optimizer,
        rho: float = 0.05,
        second_pass: Callable[[], AbstractContextManager[Any]] = nullcontext,
    ) -> None:
        if not 0 <= rho < float("inf"):
            raise ConfigError(f"rho of sharpness-aware minimisation: must be 0 or more; got {rho}")
        # not `super().__init__`, which would make groups and state of its own; this makes only the hooks' registers
        self.__setstate__({"base": base, "rho": rho, "second_pass": second_pass})

    def __getstate__(self) -> dict[str, Any]:
        return {"base": self.base, "rho": self.rho, "second_pass": self.second_pass}

    # asked for each time: loading a state puts new ones in their place
    @property
    def param_groups(self) -> list[dict[str, Any]]:  # type: ignore[override]  # nobody sets it
        """The base's."""
        return self.base.param_groups

    @property
    def state(self) -> defaultdict[Tensor, Any]:  # type: ignore[override]  # nobody sets it
        """The base's."""
        return self.base.state

    @property
    def defaults(self) -> dict[str, Any]:  # type: ignore[override]  # nobody sets it
        """The base's."""
        return self.base.defaults

    def state_dict(self) -> dict[str, Any]:
        """The base's."""
        return self.base.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Gives it to the base."""
        self.base.load_state_dict(state_dict)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Gives it to the base."""
        self.base.add_param_group(param_group)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """As the base does."""
        self.base.zero_grad(set_to_none)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Makes one step. The weights of the second pass are gone after it, bit for bit, also if it fails.

        Args:
            closure: zeroes the gradients, computes the loss, calls `backward` and returns the loss. Called twice.

        Returns:
            What the closure returned at the network's own weights.

        Raises:
            TypeError: there is no closure.
        """
        if closure is None:
            raise TypeError(
                "SAM.step needs a closure that zeroes the gradients, computes the loss, calls backward and returns the "
                "loss: it is called twice (precision 16-mixed has none; bf16-mixed has)"
            )
        closure = torch.enable_grad()(closure)
        loss = closure()
        with self._worst_nearby(), self.second_pass():
            closure()
        self.base.step()
        return loss

    @contextmanager
    def _worst_nearby(self) -> Iterator[None]:
        """The weights are w + rho · g / ‖g‖ inside; those without a gradient stay, and all do where g is zero."""
        moved = [p for group in self.param_groups for p in group["params"] if p.grad is not None]
        if not moved:
            yield
            return
        saved = [p.clone() for p in moved]
        gradients = [p.grad for p in moved]
        norm = get_total_norm(gradients)
        scale = torch.where(norm > 0, self.rho / norm, 0.0)  # on the device, which nothing waits for
        try:
            torch._foreach_add_(moved, torch._foreach_mul(gradients, scale))
            torch.clear_autocast_cache()  # of the weights as they were, in 16 bits
            yield
        finally:
            torch._foreach_copy_(moved, saved)
            torch.clear_autocast_cache()
