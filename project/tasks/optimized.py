"""How every task is optimised: parameter groups, the schedule and its length, plateaus, sharpness-aware steps."""

from __future__ import annotations

import inspect
import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, Literal

from lightning.pytorch import LightningModule
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.cli import ReduceLROnPlateau as MonitoredPlateau
from lightning.pytorch.strategies import FSDPStrategy
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.lr_scheduler import CyclicLR, OneCycleLR, ReduceLROnPlateau

from project.errors import ConfigError, did_you_mean, errors_of
from project.optim import SAM, MuonSGD, Schedule, decay_groups, scale_learning_rates
from project.optim.options import GivenOptions

_DEFAULT = "default"  # in a pickle, in the place of a default


class OptimizedModule(LightningModule):
    """A LightningModule with an optimizer that is given, and a schedule that knows the run's length.

    Args:
        optimizer: see `Task`.
        lr_scheduler: see `Task`.
        sam: see `Task`.
    """

    monitor: ClassVar[str] = "val/loss"
    """The metric that says which checkpoint is the best, unless the user names another."""
    monitor_mode: ClassVar[Literal["min", "max"]] = "min"

    def __init__(self, optimizer: OptimizerCallable, lr_scheduler: LRSchedulerCallable | None, sam: float) -> None:
        super().__init__()
        if sam < 0:
            raise ConfigError(f"model.sam: must be at least 0; got {sam}")
        made: dict[str, tuple[Any, str, str]] = {}
        made["optimizer"] = optimizer, "parameter groups", "functools.partial(torch.optim.Adam, lr=1e-3)"
        if lr_scheduler is not None:
            made["lr_scheduler"] = lr_scheduler, "the optimizer", "functools.partial(StepLR, step_size=10)"
        for name, (function, argument, example) in made.items():
            if not callable(function):
                raise ConfigError(f"model.{name}: must be a function of {argument}, such as {example}; got a "
                                  f"{type(function).__name__}")  # fmt: skip
        self.make_optimizer = optimizer
        self.make_lr_scheduler = lr_scheduler
        self.sam = sam
        self._second_pass = False
        self._lr: float | None = None
        self._dimensions: dict[str, int] = {}
        self.results: dict[str, float] = {}
        """The latest value of each metric recorded, in full precision."""

    def __getstate__(self) -> dict[str, Any]:
        """As Lightning's; the constructor's defaults, lambdas for jsonargparse, are named in place of being pickled.

        Raises:
            ConfigError: another lambda was given.
        """
        state: dict[str, Any] = super().__getstate__()
        for name in ("optimizer", "lr_scheduler"):
            function = state[f"make_{name}"]
            if getattr(function, "__name__", "") == "<lambda>":
                if function is not self._default(name):
                    raise ConfigError(f"model.{name}: a lambda cannot be pickled; use functools.partial")
                state[f"make_{name}"] = _DEFAULT
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        """The reverse."""
        super().__setstate__(state)  # type: ignore[no-untyped-call]  # torch's
        for name in ("optimizer", "lr_scheduler"):
            if state[f"make_{name}"] == _DEFAULT:
                setattr(self, f"make_{name}", self._default(name))

    @classmethod
    def _default(cls, name: str) -> Any:
        """The default of an argument, which a subclass may pass on as one of its `**options`."""
        signatures = (inspect.signature(vars(c)["__init__"]).parameters for c in cls.__mro__ if "__init__" in vars(c))
        return next((parameters[name].default for parameters in signatures if name in parameters), None)

    def configure_optimizers(self) -> Any:
        """The optimizer over weights with and without decay, and the schedule with its interval."""
        groups = decay_groups(self, self.lr_scale, self._dimensions)
        with errors_of("model.optimizer"):
            optimizer = self.make_optimizer(groups)
        if isinstance(optimizer, MuonSGD) and isinstance(self.trainer.strategy, FSDPStrategy):
            raise ConfigError(
                "model.optimizer: MuonSGD needs whole filters in each process; set trainer.strategy to ddp"
            )
        if self._lr is not None:
            for group in optimizer.param_groups:
                group["lr"] = self._lr
        scale_learning_rates(optimizer)
        if self.sam:
            self._check_sam()
            optimizer = SAM(optimizer, self.sam, self.passing_again)
        if self.make_lr_scheduler is None:
            self._given_options = GivenOptions(optimizer, None)
            return optimizer
        with errors_of("model.lr_scheduler"):
            scheduler = self.make_lr_scheduler(optimizer)
        if self._lr is not None:
            _check_follows(scheduler)
        if isinstance(scheduler, Schedule):
            scheduler.set_total_steps(self.total_steps())
        self._given_options = GivenOptions(optimizer, scheduler)
        config: dict[str, Any] = {"scheduler": scheduler, "interval": "epoch"}
        if isinstance(scheduler, (Schedule, OneCycleLR, CyclicLR)):
            config["interval"] = "step"
        if isinstance(scheduler, ReduceLROnPlateau):
            # stepped in `on_train_epoch_end`: Lightning would do it after the checkpoint of the epoch is written
            config["frequency"] = sys.maxsize
            config["monitor"] = self._plateau_monitor(scheduler)
        return {"optimizer": optimizer, "lr_scheduler": config}

    def configure_model(self) -> None:
        """Notes the shapes of all parameters, of which `fsdp` is about to make vectors."""
        self._dimensions = {name: parameter.ndim for name, parameter in self.named_parameters()}

    def lr_scale(self, name: str) -> float:
        """The factor of the learning rate of a parameter, by its name."""
        return 1.0

    def _check_sam(self) -> None:
        if self.trainer.accumulate_grad_batches > 1:
            raise ConfigError("model.sam: climbs on the batch that it descends on and cannot accumulate several; "
                              "set trainer.accumulate_grad_batches to 1")  # fmt: skip
        if isinstance(self.trainer.strategy, FSDPStrategy):
            raise ConfigError("model.sam: needs whole weights in each process; set trainer.strategy to ddp")
        if getattr(self.trainer.precision_plugin, "scaler", None) is not None:
            raise ConfigError("model.sam: needs gradients without a scaler; set trainer.precision to bf16-mixed or "
                              "32-true")  # fmt: skip

    @contextmanager
    def passing_again(self) -> Iterator[None]:
        """Inside it a batch that was seen already is neither counted, logged, nor added to batch-norm statistics."""
        norms = [m for m in self.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
        outer, self._second_pass = self._second_pass, True
        for norm in norms:
            norm.track_running_stats = False
        try:
            yield
        finally:
            self._second_pass = outer
            for norm in norms:
                norm.track_running_stats = True

    def _plateau_monitor(self, scheduler: ReduceLROnPlateau) -> str:
        if isinstance(scheduler, MonitoredPlateau):
            return scheduler.monitor
        return self.monitor if scheduler.mode == self.monitor_mode else "val/loss"

    def step_plateau(self) -> None:
        """Shows a plateau's schedule what its metric came to; for the end of an epoch, when `results` has its metrics."""
        if (self.current_epoch + 1) % (self.trainer.check_val_every_n_epoch or 1):
            return  # nothing was measured in this epoch
        for config in self.trainer.lr_scheduler_configs:
            if isinstance(config.scheduler, ReduceLROnPlateau):
                if not any(name.startswith("val/") for name in self.results) and str(config.monitor).startswith("val/"):
                    continue  # nothing was measured yet
                if config.monitor not in self.results:
                    raise ConfigError(f"model.lr_scheduler.monitor: no metric '{config.monitor}'; "
                                      f"{did_you_mean(str(config.monitor), self.results)}")  # fmt: skip
                config.scheduler.step(self.results[config.monitor])

    @property
    def lr(self) -> float | None:
        """A learning rate in place of the optimizer's own, of this fit and later ones; Lightning's finder sets it."""
        return self._lr

    @lr.setter
    def lr(self, value: float) -> None:
        self._lr = value
        if self._trainer is None or not self.trainer.optimizers:
            return
        optimizer, scheduler = self.trainer.optimizers[0], None
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"] = value * group.get("lr_scale", 1.0)
        for config in self.trainer.lr_scheduler_configs:
            scheduler = config.scheduler
            _check_follows(scheduler)
            scheduler.base_lrs = [group["lr"] for group in optimizer.param_groups]
        self._given_options = GivenOptions(optimizer, scheduler)

    def on_train_start(self) -> None:
        """Lets the options as given hold over a checkpoint's, and the schedule set the rate.

        The learning-rate finder leaves the full rate, and a schedule may begin below it. The batch-size finder has changed
        the run's length since the schedule was made.
        """
        if self.trainer.ckpt_path is not None:
            self._given_options.reapply()
        for group in self.trainer.optimizers[0].param_groups:
            if group["lr"] == self._lr:  # after setting `lr`, Lightning's finder gives all groups the full rate
                group["lr"] *= group.get("lr_scale", 1.0)
        for config in self.trainer.lr_scheduler_configs:
            if isinstance(config.scheduler, Schedule):
                config.scheduler.set_total_steps(self.total_steps())

    def total_steps(self) -> int:
        """Optimizer steps of the whole run.

        `trainer.estimated_stepping_batches` would build the loaders now and lose the place to resume from
        (Lightning issue 20550).
        """
        trainer = self.trainer
        if trainer.max_epochs in (-1, None):
            if trainer.max_steps == -1:
                raise ConfigError(
                    "trainer.max_epochs: the learning rate's shape, or lookahead, needs the run's length; set it"
                )
            return trainer.max_steps
        datamodule: Any = getattr(trainer, "datamodule", None)
        if not hasattr(datamodule, "training_batches"):
            return int(trainer.estimated_stepping_batches)
        batches = datamodule.training_batches(trainer.world_size)
        limit = getattr(trainer, "overfit_batches", 0) or trainer.limit_train_batches
        batches = min(batches, limit) if isinstance(limit, int) else int(batches * limit)
        steps = math.ceil(batches / trainer.accumulate_grad_batches) * trainer.max_epochs
        return steps if trainer.max_steps == -1 else min(steps, trainer.max_steps)

    @property
    def current_lr(self) -> float:
        """The learning rate of the first parameter group, before a factor of its own."""
        group = self.trainer.optimizers[0].param_groups[0]
        return group["lr"] / group.get("lr_scale", 1.0)


def _check_follows(scheduler: Any) -> None:
    """Refuses a learning rate that is set where the schedule has one of its own."""
    if isinstance(scheduler, (OneCycleLR, CyclicLR)):
        raise ConfigError(f"model.lr_scheduler: {type(scheduler).__name__} has a rate of its own (max_lr), so that one that is "
                          "set or found has no effect; use project.optim.OneCycle, or set max_lr")  # fmt: skip
