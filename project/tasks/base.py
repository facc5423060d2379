"""What every task shares: plain hyper-parameters, warm start, metrics recorded once an epoch, answers."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from typing import Any, ClassVar, Self

import numpy as np
import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.utilities.rank_zero import rank_zero_info
from torch import Tensor

from project.data.base import ImageDataModule
from project.data.batch import as_batch
from project.data.facts import FACTS, check_facts
from project.data.identity import compare_on_first_process
from project.data.images import ValueRange
from project.data.pictures import Picture, as_list, square_of
from project.errors import CheckpointError, NonFiniteError, UserError
from project.runs.checkpoints import SCHEMA, read_checkpoint
from project.runs.precision import FULL, computing, precision_of
from project.runs.progress import restore_place, save_place
from project.runs.schema import Schema, SchemaError, check_like, subclasses
from project.runs.undeclared import data_of, forget_earlier_data, is_logged
from project.tasks.optimized import OptimizedModule
from project.tasks.running_means import RunningMeans
from project.tasks.warm_start import load_matching

_OF_RUNS = ("optimizer", "lr_scheduler", "init_from", "weights", "compile", "compile_teacher")
_LARGEST_IMAGE = 4096  # pixels of a side
_SPARE = 64 * 2**20  # bytes by which a network may be larger than a file's weights, such as a teacher's classifier


class Task(OptimizedModule, ABC):
    """A LightningModule whose checkpoint says by itself what it is.

    A subclass builds its network from names and plain arguments, passes these to `save_hyperparameters` as one
    dictionary, and logs its own training means in `self.training_means`.

    Args:
        optimizer: makes the optimizer from parameter groups.
        lr_scheduler: makes the schedule from the optimizer. Schedules of `project.optim` step every batch and are told
            the length of the run; torch's `OneCycleLR` and `CyclicLR` step every batch, all others every epoch.
        init_from: a checkpoint, a run's directory (its best checkpoint) or a file of weights to start from: weights only,
            where name and shape agree. Resuming a run is `--ckpt_path`.
        sam: above 0, sharpness-aware minimisation with a neighbourhood of this radius, around any optimizer (Foret et
            al. 2020, arXiv:2010.01412); a step costs two.
    """

    identity: ClassVar[tuple[str, ...]] = ()
    """Hyper-parameters that a checkpoint's weights go with: options that contradict them are an error."""
    free_options: ClassVar[tuple[str, ...]] = ()
    """Of these, options inside them, such as `decoder.dropout`, that may be others."""
    training_facts: ClassVar[tuple[str, ...]] = ()
    """Facts of the data that are compared in training alone: what is measured may have others."""
    image_size: int
    center_crop: float
    precision: str = FULL
    """Precision of the network where there is no Trainer: that of its training."""
    value_range: ValueRange | None = None

    def __init__(
        self,
        optimizer: OptimizerCallable,
        lr_scheduler: LRSchedulerCallable | None,
        init_from: str | None,
        sam: float = 0.0,
    ) -> None:
        super().__init__(optimizer, lr_scheduler, sam)
        self.init_from = init_from
        self._loaded_from: Any = None
        self._data_record: Any = None
        self.is_trained = False
        """Whether the weights were trained or loaded; set it where they were loaded into the network itself."""
        self.training_means = RunningMeans()

    # ---- prediction

    @abstractmethod
    def answers(self, images: Tensor) -> list[dict[str, Any]]:
        """One answer for each of images (B, 3, S, S) uint8, of plain JSON types.

        What begins with an underscore is for the gallery alone.
        """

    def predict_step(self, batch: Any, batch_idx: int) -> tuple[Tensor, list[dict[str, Any]]]:
        """Indices of the inputs (B,), and the answer to each."""
        return batch.indices, self.answers(batch.images)

    @torch.inference_mode()
    def predict(self, images: Picture | Sequence[Picture], batch_size: int = 64) -> list[dict[str, Any]]:
        """Answers for images of any size and mode, as `python -m project predict` writes them.

        Args:
            images: one image or several: paths, PIL images, or arrays (H, W) or (H, W, 3) uint8.
            batch_size: images at a time.

        Returns:
            A dictionary for each image, in a list also for one image.
            A classifier's is `{"label": str, "probability": float, "top5": [[label, probability], ...]}`, a captioner's
            `{"caption": str, "log_probability": float, "finished": bool, "words": [{"word": str, "log_probability": float},
            ...], "alternatives": [...]}`.

        Raises:
            DataError: a file cannot be read as an image, or a value is none.
        """
        pictures, was_training = as_list(images), self.training
        self.eval()
        answers = []
        for first in range(0, len(pictures), batch_size):
            part = pictures[first : first + batch_size]
            squares = np.stack(
                [square_of(picture, self.image_size, self.center_crop, self.value_range) for picture in part]
            )
            batch = torch.from_numpy(squares).to(self.device).permute(0, 3, 1, 2)
            with self.computing():
                found = self.answers(batch)
            answers += [{name: value for name, value in answer.items() if not name.startswith("_")} for answer in found]
        self.train(was_training)
        return answers

    def computing(self) -> AbstractContextManager[None]:
        """Inside it the network computes in `precision`, as it does under the commands."""
        return computing(self, self.precision, self.device)

    # ---- data

    def check_resumable(self, earlier: dict[str, Any]) -> None:
        """Raises a `CheckpointError` where the state of a run with earlier arguments is not one of this task.

        Args:
            earlier: the arguments, as plain types.
        """

    def check_data(self, data: Any) -> None:
        """Raises a `DataError` where a data set cannot measure what this task has learned."""

    def checked_batch(self, batch: Any) -> Any:
        """A batch of a loader that came without a datamodule, as the task takes it.

        Raises:
            DataError: it does not fit the network.
        """
        return as_batch(batch, self.image_size, None)

    def _on_before_batch_transfer(self, batch: Any, dataloader_idx: int = 0) -> Any:
        # not the public hook, of which Lightning warns wherever there is a datamodule; that one is compared in `setup`
        batch = super()._on_before_batch_transfer(batch, dataloader_idx)
        return batch if isinstance(data_of(self.trainer), ImageDataModule) else self.checked_batch(batch)

    def _check_trained(self) -> None:
        verb = self.trainer.state.fn
        if not self.is_trained and verb is not None:
            raise CheckpointError(f"{verb.value}: needs trained weights; fit the task first, give ckpt_path, or "
                                  "use load_from_checkpoint; where its weights were loaded otherwise, set "
                                  "task.is_trained = True")  # fmt: skip

    def on_test_start(self) -> None:
        """Refuses untrained weights."""
        self._check_trained()

    def on_predict_start(self) -> None:
        """Refuses untrained weights."""
        self._check_trained()

    # ---- what is recorded

    def metric_names(self) -> set[str]:
        """The names of all metrics that training records, those of validation among them."""
        return {"lr", "train/loss", "train/loss_step", "train/skipped_updates"}

    def record(self, metrics: dict[str, float]) -> None:
        """Hands metrics of an epoch to the loggers at once, to callbacks and to `results`.

        `self.log` hands them to loggers only after the checkpoint of that moment is written, so that a run killed in
        between would miss them.
        """
        self.results |= metrics
        fitting = self.trainer.state.fn == "fit"
        # Lightning averages what is logged at an epoch's end over processes; these are the same in each. What it hands to
        # loggers itself is what `Trainer.test` and `Trainer.validate` return
        self.log_dict(metrics, logger=False if fitting else None, sync_dist=True, batch_size=1)
        if fitting and not self.trainer.sanity_checking:
            self._to_loggers(metrics, max(self.global_step - 1, 0))

    def count_batch(self, count: int, loss: Tensor, **means: Tensor) -> None:
        """Adds a training batch to the epoch's means, and logs loss and learning rate every `log_every_n_steps`.

        Asking `self.log` at every step would cost 0.3 ms.

        Args:
            count: samples in the batch.
            loss: its mean, a scalar.
            **means: others, likewise.
        """
        if self._second_pass:
            return
        self.training_means.update(count, loss=loss, **means)
        if is_logged(self.trainer, self.global_step + 1):
            self.log("train/loss_step", loss.detach(), prog_bar=True, logger=False)
            self._to_loggers({"train/loss_step": loss.item(), "lr": self.current_lr}, self.global_step)

    def _to_loggers(self, metrics: dict[str, float], step: int) -> None:
        for logger in self.loggers:
            logger.log_metrics({"epoch": self.current_epoch, **metrics}, step=step)

    def on_validation_start(self) -> None:
        """Stops a run whose loss is no number, before its weights become the best or the last."""
        if self.trainer.state.fn == "fit":
            self._check_finite(self.training_means.compute(self.trainer.strategy))
        else:
            self._check_trained()

    def on_train_start(self) -> None:
        """Notes that the weights are no longer the initial ones."""
        super().on_train_start()
        self.is_trained = True

    def _check_finite(self, means: dict[str, float]) -> None:
        for name, value in means.items():
            if not math.isfinite(value):
                raise NonFiniteError(
                    f"train/{name} is {value} in epoch {self.current_epoch + 1}: training has diverged. The checkpoints "
                    "are those of earlier epochs; lower model.optimizer.lr, or set trainer.gradient_clip_val"
                )

    def on_train_epoch_end(self) -> None:
        """Records the epoch's training means and learning rate."""
        means = self.training_means.compute(self.trainer.strategy)
        self._check_finite(means)
        self.training_means.reset()
        self.record({f"train/{name}": value for name, value in means.items()} | {"lr": self.current_lr})
        self.step_plateau()

    # ---- what a checkpoint is

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds the task's name, the schema, the running means, and what identifies the data."""
        if self._data_record is not None:
            checkpoint["data"] = self._data_record
        checkpoint["task"] = type(self).__name__
        checkpoint["precision"] = str(self.trainer.precision)
        checkpoint["schema"] = SCHEMA
        save_place(self.trainer, checkpoint)
        checkpoint["training_means"] = self.training_means.state(self.trainer.strategy)
        schedules = [config for config in self.trainer.lr_scheduler_configs if config.monitor in self.results]
        # which a plateau's schedule may look at before the next validation
        checkpoint["results"] = {str(config.monitor): self.results[str(config.monitor)] for config in schedules}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Takes the running means back, and refuses another task's checkpoint, and data that mix splits."""
        _check_task(type(self), checkpoint, "ckpt_path")
        if self._trainer is not None:
            if self.trainer.state.fn == "fit":
                check_like(checkpoint.get("loops", {}).get("fit_loop", {}), self.trainer.fit_loop.state_dict(), "loops")
                restore_place(self.trainer, checkpoint)
            self._data_record = checkpoint.get("data")
            self._compare_data()
            self.training_means.restore(checkpoint.get("training_means", {}), self.trainer.global_rank)
            if self.trainer.state.fn == "fit":
                self.results |= checkpoint.get("results", {})

    @classmethod
    def load_from_checkpoint(  # type: ignore[override]  # Lightning's own arguments are of no use here
        cls, checkpoint_path: Any, map_location: Any = "cpu", **overrides: Any
    ) -> Self:
        """The task of a checkpoint, with its weights, in evaluation mode; runs nothing that the file names.

        Args:
            checkpoint_path: a `.ckpt` file. From `Task` itself, any task's.
            map_location: the device to load to.
            **overrides: arguments that replace saved ones.

        Raises:
            CheckpointError: the file is absent, damaged, foreign or of another task.
        """
        checkpoint = read_checkpoint(checkpoint_path, map_location)
        task_class = cls.of_checkpoint(checkpoint, f"ckpt_path: {checkpoint_path}")
        hyper_parameters = task_class.check_hyper_parameters(
            checkpoint["hyper_parameters"], f"ckpt_path: {checkpoint_path}", checkpoint["state_dict"]
        )
        task = task_class.build(hyper_parameters, f"ckpt_path: {checkpoint_path}", **overrides)
        task._loaded_from = checkpoint_path
        task._data_record = checkpoint.get("data")
        task.load_state_dict(checkpoint["state_dict"])
        task.precision = precision_of(checkpoint)
        return task.to(map_location).eval() if map_location else task.eval()

    @classmethod
    def of_checkpoint(cls, checkpoint: dict[str, Any], where: str) -> type[Self]:
        """The class of a checkpoint's task: this one, or a subclass that is loaded.

        Raises:
            CheckpointError: it is another task's.
        """
        task_class = next((c for c in (cls, *subclasses(cls)) if c.__name__ == checkpoint["task"]), cls)
        _check_task(task_class, checkpoint, where)
        return task_class

    @classmethod
    def check_hyper_parameters(
        cls, values: dict[str, Any], where: str, state_dict: Mapping[str, Tensor]
    ) -> dict[str, Any]:
        """Hyper-parameters from a file, each checked against the signature; plain types.

        Options of a run, which no checkpoint has among them, are left out: they would compile or download something.

        Args:
            values: names and values.
            where: the file that they are from, for messages.
            state_dict: the weights that they must fit; a network many times as large is refused before it takes memory.

        Raises:
            CheckpointError: there is none of that name, or its value does not fit.
        """
        try:
            found = Schema().arguments(cls, {name: value for name, value in values.items() if name not in _OF_RUNS})
        except SchemaError as error:
            raise CheckpointError(f"{where}: its hyper-parameters do not fit a {cls.__name__}: {error}") from None
        if found.get("image_size", 1) > _LARGEST_IMAGE:
            raise CheckpointError(f"{where}: its image_size, {found['image_size']}, is above {_LARGEST_IMAGE}")
        needed = 0
        with suppress(Exception), torch.device("meta"):  # not all networks can be made without numbers
            needed = sum(
                value.nbytes for value in cls(**Schema(build=True).arguments(cls, found)).state_dict().values()
            )
        if needed > 4 * sum(value.nbytes for value in state_dict.values()) + _SPARE:
            raise CheckpointError(f"{where}: its hyper-parameters describe a larger network than its weights are of")
        return found

    @classmethod
    def build(cls, hyper_parameters: dict[str, Any], where: str, **overrides: Any) -> Self:
        """The task with hyper-parameters that `check_hyper_parameters` has checked.

        Args:
            hyper_parameters: plain types.
            where: the file that they are from, for messages.
            **overrides: arguments that replace them.

        Raises:
            CheckpointError: no network can be built from them.
        """
        try:
            return cls(**Schema(build=True).arguments(cls, hyper_parameters) | overrides)
        except UserError:
            raise
        except Exception as error:  # of any kind: sizes that overflow, options that a network does not take
            reason = str(error).partition("\n")[0] or type(error).__name__
            raise CheckpointError(f"{where}: its hyper-parameters make no network: {reason}") from error

    def load_state_dict(self, state_dict: Any, strict: bool = True, assign: bool = False) -> Any:
        """As torch's; what does not fit is a `CheckpointError`."""
        try:
            found = super().load_state_dict(state_dict, strict, assign)
        except RuntimeError as error:
            path = self._loaded_from or (self._trainer and self._trainer.ckpt_path)
            raise CheckpointError(f"ckpt_path: {path}: its weights do not fit the network: {error}") from None
        self.is_trained = True
        return found

    def setup(self, stage: str) -> None:
        """Compares the data with the task, starts a new run from `init_from`, and says which weights were taken."""
        forget_earlier_data(self.trainer)
        if (data := data_of(self.trainer)) is not None and stage != "predict":
            check_facts(data, self.hparams, [f for f in FACTS if stage == "fit" or f not in self.training_facts])
            self.check_data(data)
        if (stage == "fit" or self._data_record is not None) and self.trainer.ckpt_path is None:
            self._compare_data()
        if stage == "fit":
            self.precision = str(self.trainer.precision)
        if stage == "fit" and self.init_from and self.trainer.ckpt_path is None:
            rank_zero_info(load_matching(self, self.init_from))

    def _compare_data(self) -> None:
        data, verb = data_of(self.trainer), self.trainer.state.fn
        if isinstance(data, ImageDataModule) and verb in ("fit", "validate", "test"):
            self._data_record = compare_on_first_process(self.trainer, self._data_record, data)


def _check_task(task_class: type[Task], checkpoint: dict[str, Any], where: str) -> None:
    if checkpoint.get("task") != task_class.__name__:
        raise CheckpointError(
            f"{where}: holds a {checkpoint.get('task')} and not a {task_class.__name__}; "
            "use the configuration of its task, or none"
        )
