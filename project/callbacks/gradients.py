"""What the optimizer is given."""

from __future__ import annotations

from typing import TypeGuard

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.strategies import FSDPStrategy
from torch import Tensor
from torch.nn.utils import get_total_norm
from torch.optim import Optimizer

from project.callbacks.pictures import summary_writer
from project.runs.loggers import record_costs
from project.runs.undeclared import is_logged


class Gradients(Callback):
    """Records the gradient's norm at every `log_every_n_steps`, as it is before clipping and without a scaler's factor.

    Beside it stand the learning rates of parts that have their own, in TensorBoard alone. With several passes a step, as
    SAM makes them, the norm is the first one's. Sharded gradients have none here.

    Args:
        histograms: whether weights and gradients are shown as histograms, once an epoch at its first step.
    """

    def __init__(self, histograms: bool) -> None:
        self.histograms = histograms
        self._step = -1
        self._epoch = -1

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        """Lightning calls this between the gradient and its clipping."""
        step = trainer.global_step
        if step == self._step or not trainer.loggers or isinstance(trainer.strategy, FSDPStrategy):
            return
        self._step = step
        if is_logged(trainer, step + 1):
            gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
            norm = get_total_norm(gradients).item()
            for logger in trainer.loggers:
                logger.log_metrics({"epoch": trainer.current_epoch, "train/gradient_norm": norm}, step=step)
            rates = {f"lr_by_factor/{group.get('lr_scale', 1.0):.3g}": group["lr"] for group in optimizer.param_groups}
            if len(rates) > 1:
                record_costs(trainer, rates, step)
        if self.histograms and trainer.current_epoch != self._epoch:
            self._epoch = trainer.current_epoch
            self._show(trainer, pl_module, step)

    def _show(self, trainer: Trainer, pl_module: LightningModule, step: int) -> None:
        if (writer := summary_writer(trainer)) is None:
            return
        for name, parameter in pl_module.named_parameters():
            for kind, values in (("weights", parameter.detach()), ("gradients", parameter.grad)):
                if can_be_counted(values):
                    writer.add_histogram(f"{kind}/{name}", values.float(), step)


def can_be_counted(values: Tensor | None) -> TypeGuard[Tensor]:
    """Whether there are numbers alone: a scaler's first gradients may be infinite."""
    return values is not None and values.numel() > 0 and bool(values.isfinite().all())
