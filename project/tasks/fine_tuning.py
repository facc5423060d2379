"""Transfer learning: which parts of a network learn, from when on, and how fast."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from project.errors import ConfigError, did_you_mean
from project.models import Backbone

_HEAD = "head"


@dataclass(frozen=True)
class FineTuning:
    """How a network that has learned something already goes on to learn.

    The parts of a network are its stages, its pool and its head, in this order. A part that is frozen does not change
    at all: no gradient, no weight decay, no batch-norm statistics, no dropout.

    Args:
        frozen: parts that never learn, by name, or `all` but the head.
        head_epochs: epochs at the start in which the head alone learns (Kumar et al. 2022, arXiv:2202.10054).
        unfreeze_epochs: from then on a part more learns every so many epochs, the last one first (Howard and Ruder
            2018, arXiv:1801.06146, section 3.3); 0 lets all learn at once.
        layer_decay: factor of the learning rate from each part to the one before it; the head has the full rate
            (Clark et al. 2020, arXiv:2003.10555; Bao et al. 2021, arXiv:2106.08254).
        freeze_norms: whether batch norms keep their statistics where they learn, too; for small batches.

    Raises:
        ConfigError: a value is out of its range.
    """

    frozen: list[str] | str = ()  # type: ignore[assignment]  # a list would be shared
    head_epochs: int = 0
    unfreeze_epochs: int = 0
    layer_decay: float = 1.0
    freeze_norms: bool = False

    def __post_init__(self) -> None:
        for name in ("head_epochs", "unfreeze_epochs"):
            if getattr(self, name) < 0:
                raise ConfigError(f"model.fine_tuning.{name}: must be at least 0; got {getattr(self, name)}")
        if not 0 < self.layer_decay <= 1:
            raise ConfigError(f"model.fine_tuning.layer_decay: must be above 0 and at most 1; got {self.layer_decay}")


class FineTuner:
    """`FineTuning` applied to one network.

    Args:
        network: whose parts.
        options: see `FineTuning`.

    Raises:
        ConfigError: the network has no part of a name that is given.
    """

    def __init__(self, network: Backbone | SimpleNamespace, options: FineTuning) -> None:
        self.options = options
        modules = {**network.stages, "pool": network.pool, _HEAD: network.head}
        self._parts: dict[str, nn.Module] = {
            name: module for name, module in modules.items() if any(True for _ in module.parameters())
        }
        below_head = [name for name in self._parts if name != _HEAD]
        given = [options.frozen] if isinstance(options.frozen, str) else list(options.frozen)
        for name in given:
            if name != "all" and name not in self._parts:
                raise ConfigError(f"model.fine_tuning.frozen: the network has no part '{name}'; "
                                  f"{did_you_mean(name, [*self._parts, 'all'])}")  # fmt: skip
        self._never = set(below_head) if "all" in given else set(given)
        if self._never == set(self._parts):
            raise ConfigError("model.fine_tuning.frozen: every part is frozen, so nothing would learn")
        self._frozen = self._never
        self._learning: dict[str, list[nn.Parameter]] = {}
        # from the head down: the order in which they begin to learn
        self._descending = below_head[::-1]

    def lr_scale(self, name: str) -> float:
        """The factor of the learning rate of a parameter, by its name in the network."""
        part = name.removeprefix("stages.").partition(".")[0]
        depth = 0 if part == _HEAD else 1 + self._descending.index(part)
        return self.options.layer_decay**depth

    def frozen_at(self, epoch: int) -> set[str]:
        """The parts that do not learn in an epoch."""
        since, every = epoch - self.options.head_epochs, self.options.unfreeze_epochs
        if since < 0:
            return self._never | set(self._descending)
        return self._never | set(self._descending[1 + since // every :] if every else ())

    def freeze_for_good(self) -> None:
        """Takes what never learns out of the optimizer's and the processes' sight; before either is made."""
        for name in self._never:
            self._parts[name].requires_grad_(False)
        self._learning = {
            name: [parameter for parameter in part.parameters() if parameter.requires_grad]
            for name, part in self._parts.items()
        }

    def set_epoch(self, epoch: int, save_work: bool) -> None:
        """Freezes and unfreezes for an epoch.

        Args:
            epoch: its number.
            save_work: whether gradients that nobody wants are not computed at all. Several processes agree on the
                parameters that have gradients when training begins, so there they are computed and dropped.
        """
        self._frozen = self.frozen_at(epoch)
        if save_work:
            for name, parameters in self._learning.items():
                for parameter in parameters:
                    parameter.requires_grad_(name not in self._frozen)
        self.set_modes()

    def set_modes(self) -> None:
        """Puts what learns in training mode, and what is frozen in evaluation mode."""
        for name, part in self._parts.items():
            part.train(name not in self._frozen)
            if self.options.freeze_norms:
                for module in part.modules():
                    if isinstance(module, _BatchNorm):
                        module.eval()

    def drop_gradients(self) -> None:
        """Keeps the optimizer from changing what is frozen for now."""
        for name in self._frozen:
            for parameter in self._learning[name]:
                parameter.grad = None
