"""Training stops before a loss or a gradient that is not finite reaches the weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.rank_zero import rank_zero_info
from torch import Tensor
from torch.nn.utils import get_total_norm
from torch.optim import Optimizer

from project.callbacks.nonfinite import ANOTHER, Origin, find_origin
from project.errors import ConfigError, NonFiniteError
from project.files import atomic_write
from project.runs.directory import RunDirectory
from project.runs.schema import Schema
from project.runs.undeclared import callbacks_of, data_of

_NAMED = 8  # samples that a message names


@dataclass(frozen=True)
class GuardOptions:
    """What is done about a loss or a gradient that is not finite.

    Args:
        skip: so many updates of a run may be left out because of it; the next one stops the run.

    Raises:
        ConfigError: `skip` is negative.
    """

    skip: int = 0

    def __post_init__(self) -> None:
        if self.skip < 0:
            raise ConfigError(f"guard.skip: must be at least 0; got {self.skip}")


class Guard(Callback):
    """Looks at the loss and the whole gradient before each update.

    Where one is not finite, the update is left out: weights and optimizer stay as they are, and batch-norm statistics,
    other buffers and the epoch's means become what they were before the batch. It counts as a step, for schedules too.
    Once the budget is used up the run stops there, as a signal would stop it, so `last.ckpt` is of this good state; the
    batch lies beside it, and `error` names the step, the samples, and the first module that made such numbers.

    With a gradient scaler (precision 16-mixed) infinite gradients are the scaler's affair, and the loss alone is
    looked at. Looking waits for the device once in an update.

    Args:
        run: the run's directory; processes but the first learn of it from `RunRecord`.
        options: see `GuardOptions`.
    """

    def __init__(self, run: RunDirectory | None, options: GuardOptions) -> None:
        self.run = run
        self.options = options
        self.skipped = 0
        self.error: NonFiniteError | None = None
        """Why the run was stopped, if it was."""
        self._batches: list[Any] = []  # of this update: several where gradients are accumulated
        self._losses: list[Tensor] = []
        self._places: list[tuple[dict[str, Tensor | None], str]] = []  # where modules keep their buffers
        self._buffers: list[Tensor] = []
        self._copies: list[Tensor] = []
        self._means: Any = None
        self._window = -1  # the update that the batches are of
        self._handled = -1

    # ---- what the state was

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Learns where the buffers are."""
        self._places = [(module._buffers, name) for module in pl_module.modules() for name in module._buffers]

    @torch.no_grad()
    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Keeps what the forward pass will change."""
        if trainer.global_step != self._window:
            self._window = trainer.global_step
            self._batches.clear()
            # read anew, since a module may have put another tensor there; a walk over all modules at each step is slow
            self._buffers = [buffer for owner, name in self._places if (buffer := owner[name]) is not None]
            if [copy.shape for copy in self._copies] != [buffer.shape for buffer in self._buffers]:
                self._copies = [torch.empty_like(buffer) for buffer in self._buffers]
            _copy(self._buffers, self._copies)
            task: Any = pl_module
            self._means = task.training_means.copy()
        self._batches.append(batch)

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        """Notes whether the loss is a number; nothing waits for the answer yet."""
        self._losses.append(loss.detach().isfinite().all())

    # ---- what is done with it

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        """Lightning calls this between the gradient and its clipping."""
        step = trainer.global_step
        if step == self._handled:  # SAM passes twice over a batch, the second time over one that is left out
            _leave_out(optimizer)
        elif not self._is_finite(trainer, optimizer):
            self._handled = step
            self._handle(trainer, pl_module, optimizer, step)
        self._losses.clear()

    def _is_finite(self, trainer: Trainer, optimizer: Optimizer) -> bool:
        finite = torch.stack(self._losses).all()
        if getattr(trainer.precision_plugin, "scaler", None) is None:
            gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
            finite = finite & get_total_norm(gradients).isfinite()
        if trainer.world_size > 1:  # all stop, or none
            finite = trainer.strategy.reduce(finite.float(), reduce_op="min")
        return bool(finite)

    def _handle(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer, step: int) -> None:
        finite = [bool(loss) for loss in self._losses]
        batch = self._batches[finite.index(False) if False in finite else -1]
        self._restore(pl_module)
        where = f"step {step + 1} (epoch {trainer.current_epoch + 1})"
        if not all(bool(each.isfinite().all()) for each in pl_module.parameters()):
            raise NonFiniteError(f"{where}: the step before it left weights that are not finite; the checkpoints are "
                                 "older. Lower model.optimizer.lr, or set trainer.gradient_clip_val")  # fmt: skip
        origin = find_origin(pl_module, batch)
        self._restore(pl_module)
        rank, sentence = _first_of_all(trainer, origin, _sentence(origin, _names(trainer, batch, origin)))
        what = f"{where}: {sentence}"
        _leave_out(optimizer)
        self.skipped += 1
        if self.skipped <= self.options.skip:
            rank_zero_info(f"{what}. This update is left out, {self.skipped} of {self.options.skip} allowed")
            return
        self.error = NonFiniteError(
            f"{what}. Nothing was updated{self._keep(trainer, batch, step, rank)}. Lower model.optimizer.lr, set "
            "trainer.gradient_clip_val, or allow some updates to be left out with --guard.skip"
        )
        # the saved state is the one that a resumed run goes on from exactly, and that is known of signals
        trainer._signal_connector.received_sigterm = True

    @torch.no_grad()
    def _restore(self, pl_module: Any) -> None:
        _copy(self._copies, self._buffers)
        pl_module.training_means = self._means.copy()

    def _keep(self, trainer: Trainer, batch: Any, step: int, rank: int) -> str:
        """Writes the batch of the process `rank`; says where it is, and where the run goes on."""
        if self.run is None or trainer.checkpoint_callback is None:
            return ""
        self.run.check_present()
        path = self.run.checkpoints / "nonfinite_batch.pt"
        if trainer.global_rank == rank:
            _save_batch(path, batch, step)
        return f"; {path} is the batch, and {self.run.checkpoints / 'last.ckpt'} goes on behind it"

    # ---- what is remembered

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Records how many updates were left out so far, where that is allowed."""
        if self.options.skip:
            task: Any = pl_module
            task.record({"train/skipped_updates": float(self.skipped)})

    def state_dict(self) -> dict[str, Any]:
        """The budget is the run's, however often it is resumed."""
        return {"skipped": self.skipped}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes it back."""
        self.skipped = Schema().value(state_dict["skipped"], int, "skipped")


def _copy(source: list[Tensor], target: list[Tensor]) -> None:
    """All at once, those of each type."""
    for dtype in {tensor.dtype for tensor in source}:
        pairs = [(ours, theirs) for ours, theirs in zip(target, source, strict=True) if ours.dtype == dtype]
        torch._foreach_copy_([ours for ours, _ in pairs], [theirs for _, theirs in pairs])


def stopped_by_guard(trainer: Trainer) -> NonFiniteError | None:
    """Why a run was stopped, if a guard did it and not a signal."""
    return next((c.error for c in callbacks_of(trainer) if isinstance(c, Guard)), None)


def _leave_out(optimizer: Optimizer) -> None:
    """Optimizers pass over what has no gradient: no decay, no momentum, no count."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = None


def _names(trainer: Trainer, batch: Any, origin: Origin) -> list[str]:
    """The samples that the message names: those whose numbers are bad, or all."""
    indices = batch.indices.tolist()
    if origin.rows is not None:
        indices = [indices[row] for row in origin.rows]
    samples = data_of(trainer).splits["train"]
    return [samples.name_of(index) for index in indices]


def _sentence(origin: Origin, names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{origin.what} is not finite, first in {origin.where}, of {', '.join(names[:_NAMED])}{more}"


def _first_of_all(trainer: Trainer, origin: Origin, sentence: str) -> tuple[int, str]:
    """The first process whose own batch it was, and its sentence."""
    if trainer.world_size == 1:
        return 0, sentence
    found: list[Any] = [None] * trainer.world_size
    torch.distributed.all_gather_object(found, (origin.where == ANOTHER, trainer.global_rank, sentence))
    return min(found)[1:]


def _save_batch(path: Path, batch: Any, step: int) -> None:
    """Whole or not at all; `torch.load(path, weights_only=True)` opens it."""
    fields = {name: value.cpu() for name, value in batch._asdict().items() if isinstance(value, Tensor)}
    with atomic_write(path) as file:
        torch.save({"step": step, **fields}, file)
