"""Transfer learning: which parts of a network learn, from when on, and how fast."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from project.errors import CheckpointError, ConfigError, did_you_mean
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
        freeze_after: epochs that a part learns for, by its name (Brock et al. 2017, arXiv:1706.04983).
        layer_decay: factor of the learning rate from each part to the one before it; the head has the full rate
            (Clark et al. 2020, arXiv:2003.10555; Bao et al. 2021, arXiv:2106.08254).
        norm_bias_lr: factor of the learning rate of batch norms' biases (Page 2018, "How to Train Your ResNet 8").
        freeze_norms: whether batch norms keep their statistics where they learn, too; for small batches.

    Raises:
        ConfigError: a value is out of its range.
    """

    frozen: list[str] | str = ()  # type: ignore[assignment]  # a list would be shared
    head_epochs: int = 0
    unfreeze_epochs: int = 0
    freeze_after: dict[str, int] = field(default_factory=dict)
    layer_decay: float = 1.0
    norm_bias_lr: float = 1.0
    freeze_norms: bool = False

    def __post_init__(self) -> None:
        least = {name: getattr(self, name) for name in ("head_epochs", "unfreeze_epochs", "norm_bias_lr")}
        for name, value in (
            least | {f"freeze_after.{part}": epochs for part, epochs in self.freeze_after.items()}
        ).items():
            if value < 0:
                raise ConfigError(f"model.fine_tuning.{name}: must be at least 0; got {value}")
        if not 0 < self.layer_decay <= 1:
            raise ConfigError(f"model.fine_tuning.layer_decay: must be above 0 and at most 1; got {self.layer_decay}")


def check_same(option: str, ours: object, earlier: object) -> None:
    """Raises a `CheckpointError` where an option that an optimizer's state goes with is another than that of the run."""
    if ours != earlier:
        raise CheckpointError(f"model.{option}: {ours} contradicts the checkpoint's {earlier}, with which its optimizer's state "
                              "goes; leave it out, or start a new run from its weights with --model.init_from")  # fmt: skip


def _listed(names: list[str] | str) -> list[str]:
    return [names] if isinstance(names, str) else list(names)


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
        for name in _listed(options.frozen):
            self._check("frozen", name, [*self._parts, "all"])
        for name in options.freeze_after:
            self._check("freeze_after", name, list(self._parts))
        self._never = self._never_learning(options)
        if self._never == set(self._parts):
            raise ConfigError("model.fine_tuning.frozen: every part is frozen, so nothing would learn")
        self._frozen = self._never
        self._learning: dict[str, list[nn.Parameter]] = {}
        # from the head down: the order in which they begin to learn
        self._descending = below_head[::-1]

    def _never_learning(self, options: FineTuning) -> set[str]:
        given = _listed(options.frozen)
        return self._parts.keys() - {_HEAD} if "all" in given else set(given)

    def check_resumable(self, earlier: FineTuning) -> None:
        """Raises where a run with earlier options has its optimizer's state in other groups of parameters.

        Raises:
            CheckpointError: a part that has no state would learn, or the other way round; or rates are no longer equal, or
                now are.
        """
        ours = self.options
        groups = {
            "frozen": (self._never, self._never_learning(earlier)),
            "layer_decay": (ours.layer_decay != 1, earlier.layer_decay != 1),
            "norm_bias_lr": (ours.norm_bias_lr != 1, earlier.norm_bias_lr != 1),
        }
        for name, (now, then) in groups.items():
            if now != then:
                check_same(f"fine_tuning.{name}", getattr(ours, name), getattr(earlier, name))

    @staticmethod
    def _check(option: str, name: str, known: list[str]) -> None:
        if name not in known:
            raise ConfigError(
                f"model.fine_tuning.{option}: the network has no part '{name}'; {did_you_mean(name, known)}"
            )

    def lr_scale(self, name: str) -> float:
        """The factor of the learning rate of a parameter, by its name in the network."""
        part, _, inside = name.removeprefix("stages.").partition(".")
        depth = 0 if part == _HEAD else 1 + self._descending.index(part)
        owner, _, kind = inside.rpartition(".")
        is_norm_bias = kind == "bias" and isinstance(self._parts[part].get_submodule(owner), _BatchNorm)
        return self.options.layer_decay**depth * (self.options.norm_bias_lr if is_norm_bias else 1.0)

    def frozen_at(self, epoch: int) -> set[str]:
        """The parts that do not learn in an epoch."""
        since, every = epoch - self.options.head_epochs, self.options.unfreeze_epochs
        if since < 0:
            return self._never | set(self._descending)
        over = {name for name, epochs in self.options.freeze_after.items() if epoch >= epochs}
        return self._never | over | set(self._descending[1 + since // every :] if every else ())

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
