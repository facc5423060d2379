"""Optimisation of every task: parameter groups, the schedule and its place in the run, plateaus, sharpness-aware steps."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, Literal

from lightning.pytorch import LightningModule
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.cli import ReduceLROnPlateau as MonitoredPlateau
from lightning.pytorch.strategies import FSDPStrategy
from lightning.pytorch.utilities.types import LRSchedulerConfig
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CyclicLR, LRScheduler, OneCycleLR, ReduceLROnPlateau

from project.errors import ConfigError, did_you_mean, errors_of
from project.optim import SAM, MuonSGD, Schedule, decay_groups, scale_learning_rates
from project.optim.options import GivenOptions
from project.runs.progress import accumulation, epochs_done, run_fraction, total_updates, updates

_DEFAULT = "default"  # in a pickle, in the place of a default


class OptimizedModule(LightningModule):
    """A LightningModule with an optimizer that is given, and a schedule over the whole run.

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
        self.result_files: dict[str, Any] = {}
        """Contents of JSON files that `test` and `validate` write beside the metrics, by the ends of their names."""

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
        self._given_options = GivenOptions(optimizer, self._make_scheduler if self.make_lr_scheduler else None)
        scheduler = self._given_options.scheduler
        if scheduler is None:
            return optimizer
        config: dict[str, Any] = {"scheduler": scheduler, "interval": "epoch"}
        if isinstance(scheduler, (Schedule, OneCycleLR, CyclicLR)):
            config["interval"] = "step"
        if isinstance(scheduler, ReduceLROnPlateau):
            # stepped in `on_train_epoch_end`: Lightning would do it after the checkpoint of the epoch is written
            config["frequency"] = sys.maxsize
            config["monitor"] = self._plateau_monitor(scheduler)
        return {"optimizer": optimizer, "lr_scheduler": config}

    def _make_scheduler(self, optimizer: Optimizer) -> LRScheduler:
        assert self.make_lr_scheduler is not None, "there is a schedule"
        with errors_of("model.lr_scheduler"):
            scheduler = self.make_lr_scheduler(optimizer)
        if isinstance(scheduler, Schedule):
            scheduler.follow(self.progress)
        if self._lr is not None:
            _check_follows(scheduler)
        return scheduler

    def progress(self) -> float:
        """Fraction of the run that is done, 0 to 1, see `run_fraction`."""
        return run_fraction(self.trainer)

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
        optimizer = self.trainer.optimizers[0]
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"] = value * group.get("lr_scale", 1.0)
        for config in self.trainer.lr_scheduler_configs:
            _check_follows(config.scheduler)
            config.scheduler.base_lrs = [group["lr"] for group in optimizer.param_groups]
        self._given_options.set_rates()

    def on_train_start(self) -> None:
        """Sets the learning rate of the run's place, and lets the options as given hold over a checkpoint's.

        The learning-rate finder leaves the full rate, and a schedule may begin below it.
        """
        # Lightning's callback sets it when an epoch begins, which a run that is resumed in mid-epoch does not
        self.trainer.accumulate_grad_batches = accumulation(self.trainer, self.current_epoch)
        resumed = self.trainer.ckpt_path is not None
        if resumed:
            self._given_options.reapply()
        for group in self.trainer.optimizers[0].param_groups:
            if group["lr"] == self._lr:  # after setting `lr`, Lightning's finder gives all groups the full rate
                group["lr"] *= group.get("lr_scale", 1.0)
        for config in self.trainer.lr_scheduler_configs:
            if isinstance(config.scheduler, Schedule):
                config.scheduler.apply()
            elif not isinstance(config.scheduler, ReduceLROnPlateau):
                self._place(config, resumed)

    def _place(self, config: LRSchedulerConfig, resumed: bool) -> None:
        """Sets a schedule of torch's to the place that one made with these options would have reached by now."""
        name, by_steps = type(config.scheduler).__name__, config.interval == "step"
        done = updates(self.trainer) if by_steps else epochs_done(self.trainer)
        if resumed and by_steps and config.scheduler.last_epoch != done:
            raise ConfigError(f"model.lr_scheduler: {name} counts steps, of which the run has made {config.scheduler.last_epoch}; "
                              f"with these batches it would be {done}. Resume with the batch size, processes and "
                              "accumulation of before, or use a schedule over the run, such as OneCycle")  # fmt: skip
        if isinstance(config.scheduler, OneCycleLR):
            steps = total_updates(self.trainer)
            if config.scheduler.total_steps < steps:
                raise ConfigError(f"model.lr_scheduler.total_steps: the run has {steps} steps; got "
                                  f"{config.scheduler.total_steps}. Set it to {steps}, or use OneCycle, which finds it")  # fmt: skip
        if resumed:
            config.scheduler = self._given_options.placed(done)

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
