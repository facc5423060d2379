"""The datamodule under every image data set: splits, storage, loaders, prediction on files."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from lightning.fabric.utilities import move_data_to_device
from lightning.pytorch import LightningDataModule, Trainer
from lightning.pytorch.utilities.rank_zero import rank_zero_info

from project.data.augmentation import Augmentation
from project.data.batch import Batch
from project.data.identity import identities
from project.data.images import ValueRange
from project.data.inputs import find_inputs
from project.data.loaders import Loader, ResidentLoader, Streamed, StreamingLoader
from project.data.order import EvaluationOrder, TrainingOrder
from project.data.overfitting import OverfittingOrder
from project.data.processes import device_of, rank_of
from project.data.samples import Samples, Split, stratified_split
from project.data.store import Store, build_store, default_cache_dir, num_cpus, readable
from project.data.value_range import check_value_range, find_value_range
from project.errors import ConfigError, DataError
from project.files import OutputPath


class ImageDataModule(LightningDataModule):
    """Feeds a task with images; a data set is a subclass with `class_names` and `load_splits`.

    Alone it serves prediction, which needs files and no data set.

    Args:
        image_size: S, the side of the square images in pixels; without it, the median shorter side of some 500
            training images, as a multiple of 8 between 32 and 96.
        train_size: side of the training images where it is not S: networks that saw smaller ones in training do better
            at S (Touvron et al. 2019, arXiv:1906.06423).
        center_crop: share of the shorter side that is looked at outside training: 224 / 232 scales it to 232 pixels
            and keeps the central 224. Lies in the checkpoint.
        value_range: values of grey images with more than 8 bits that become black and white, such as [0, 4095] for 12 bits
            in 16. `auto` finds them in the training images; null keeps the upper eight bits of 16. Lies in the checkpoint.
        batch_size: the largest training batch of one process; an epoch is divided evenly.
        eval_batch_size: batch of one process in validation, test and prediction.
        augment: what is done to training images.
        balance: 0 shows every training sample once an epoch, 1 every class equally often; in between, a class of
            frequency f in proportion to f ** (1 - balance).
        repeats: views of a sample in one batch, differently augmented; an epoch has as many views as samples.
        val_fraction: share of each class held out of the training data where the set brings no validation split.
        split_seed: another seed, another held-out split.
        storage: `resident` decodes the set once into memory, on the training device; `stream` reads files in worker
            processes each epoch; `auto` is resident up to `resident_gib`.
        resident_gib: largest decoded set, in GiB of uint8 pixels, that `auto` keeps in memory, of each process.
        num_workers: worker processes of the streaming path; by default as many as there are cores, at most 8.
        on_bad_image: `skip` leaves out unreadable training files, and listed ones that are missing, counted and listed; and
            in prediction, where the command `predict` does so by default, unreadable files. In validation and test these
            are always an error.
        cache_dir: where decoded images are kept; by default `$XDG_CACHE_HOME/project-images`. Files that other users
            can write to are not read.
        predict: a folder, a file or a glob pattern of images to predict on, or several of these.
        seed: of order and augmentation; the command line links it to `--seed`.
    """

    trainer: Trainer | None = None

    def __init__(
        self,
        image_size: int | None = None,
        train_size: int | None = None,
        center_crop: float = 1.0,
        value_range: tuple[float, float] | Literal["auto"] | None = "auto",
        batch_size: int = 128,
        eval_batch_size: int = 512,
        augment: Augmentation = Augmentation(),
        balance: float = 0.0,
        repeats: int = 1,
        val_fraction: float = 0.1,
        split_seed: int = 0,
        storage: Literal["auto", "resident", "stream"] = "auto",
        resident_gib: float = 2.0,
        num_workers: int | None = None,
        on_bad_image: Literal["raise", "skip"] = "raise",
        cache_dir: OutputPath | None = None,
        predict: list[str] | str | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        counts = {"batch_size": batch_size, "eval_batch_size": eval_batch_size, "repeats": repeats}
        for name, value in (counts | {"train_size": 1 if train_size is None else train_size}).items():
            if value < 1:
                raise ConfigError(f"data.{name}: must be at least 1; got {value}")
        if num_workers is not None and num_workers < 0:
            raise ConfigError(f"data.num_workers: must be at least 0; got {num_workers}")
        if repeats > 100:
            raise ConfigError(f"data.repeats: must be at most 100; got {repeats}")
        if not 0 < val_fraction < 1:
            raise ConfigError(f"data.val_fraction: must lie between 0 and 1; got {val_fraction}")
        if not 0 < center_crop <= 1:
            raise ConfigError(f"data.center_crop: must be above 0 and at most 1; got {center_crop}")
        if not 0 <= balance <= 1:
            raise ConfigError(f"data.balance: must lie in 0..1; got {balance}")
        self._image_size = image_size
        self._train_size = train_size
        self.center_crop = center_crop
        self._value_range = value_range if value_range == "auto" else check_value_range(value_range, "data.value_range")
        self.balance = balance
        self.repeats = repeats
        self.batch_size = batch_size
        self.eval_batch_size = eval_batch_size
        self.augment = augment
        self.val_fraction = val_fraction
        self.split_seed = split_seed
        self.storage = storage
        self.resident_gib = resident_gib
        self.num_workers = min(num_cpus(), 8) if num_workers is None else num_workers
        self.skip_bad = on_bad_image == "skip"
        self.cache_dir = Path(os.path.expanduser(cache_dir)) if cache_dir else default_cache_dir()
        self.predict = predict
        self.seed = seed
        self._stores: dict[Split, Store] = {}
        self._loaders: dict[str, Loader] = {}
        self._skipped: set[str] = set()
        self._identities: dict[Split, tuple[np.ndarray, np.ndarray]] = {}

    def __str__(self) -> str:
        return repr(self)  # Lightning's would begin to read the data

    # ---- what a data set says of itself

    @property
    def class_names(self) -> list[str]:
        """The K classes, in the order of their labels."""
        raise ConfigError("data: ImageDataModule alone has no data set; name one, such as data.class_path: ImageFolder")

    def load_splits(self) -> Mapping[Split, Samples]:
        """The splits that the set brings: `train`, and `val` and `test` where it has them."""
        raise ConfigError("data: ImageDataModule alone has no data set; name one, such as data.class_path: ImageFolder")

    # ---- what follows from it

    @cached_property
    def splits(self) -> Mapping[Split, Samples]:
        """`train` and `val`, the latter held out of the former where need be, and `test` if it is labelled."""
        splits = dict(self.load_splits())
        if "val" not in splits:
            train = splits["train"]
            kept, held_out = stratified_split(train.labels, train.keys(), self.val_fraction, self.split_seed)
            splits |= {"train": train.take(kept, "train"), "val": train.take(held_out, "val")}
        for split, samples in splits.items():
            if not len(samples):
                sharing = "every class" if self.class_names else "training"
                raise DataError(f"data: the {split} split has no images; {sharing} needs two or more to share")
        found = find_value_range(splits["train"]) if self._value_range == "auto" else self._value_range
        return {split: replace(samples, value_range=found) for split, samples in splits.items()}

    @property
    def value_range(self) -> ValueRange | None:
        """As given or as found; None where all images have 8 bits."""
        return self.splits["train"].value_range if self._value_range == "auto" else self._value_range

    @cached_property
    def image_size(self) -> int:
        """S, as given or as found."""
        if self._image_size is not None:
            if self._image_size < 1:
                raise ConfigError(f"data.image_size: must be at least 1 pixel; got {self._image_size}")
            return self._image_size
        return self.splits["train"].usual_size()

    @cached_property
    def resident(self) -> bool:
        """Whether the decoded set is kept in memory."""
        if self.storage == "stream" and self.splits["train"].in_memory:
            raise ConfigError("data.storage: this set is in memory already and cannot be streamed; leave it at auto")
        pixels = sum(len(samples) * self._square(split)[0] ** 2 * 3 for split, samples in self.splits.items())
        small = self.splits["train"].in_memory or pixels <= self.resident_gib * 2**30
        resident = self.storage == "resident" or (self.storage == "auto" and small)
        if resident and self.augment.min_area < 1:
            if self.storage == "auto" and not self.splits["train"].in_memory:
                return False
            mend = "leave it out" if self.splits["train"].in_memory else "add --data.storage stream"
            raise ConfigError(f"data.augment.min_area: stored images are squares already; {mend}")
        return resident

    @property
    def train_size(self) -> int:
        """Side of the training images in pixels."""
        return self._train_size or self.image_size

    @property
    def class_counts(self) -> list[int]:
        """Training samples of each class, without those that are left out as unreadable."""
        samples = self.splits["train"]
        if self.skip_bad and not samples.in_memory:
            kept = self._store("train").indices if self.resident else readable(samples, self.train_size)
            samples = samples if kept is None else samples.take(kept, "train")
        return np.bincount(samples.labels, minlength=len(self.class_names)).tolist()

    @property
    def skipped_images(self) -> list[str]:
        """One line for each missing file, and each unreadable training file, that was left out so far."""
        if "train" in self._stores:
            self._skipped |= set(self._stores["train"].skipped)
        for loader in self._loaders.values():
            self._skipped |= set(getattr(loader, "skipped", {}).values())
        return sorted(self._skipped)

    def fingerprint(self) -> dict[str, dict[str, Any]]:
        """Number of samples and a hash of each split: tells which data a run saw."""
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> dict[str, dict[str, Any]]:
        return {
            split: {"samples": len(samples), "fingerprint": samples.fingerprint()}
            for split, samples in self.splits.items()
        }

    def identities(self, split: Split) -> tuple[np.ndarray, np.ndarray]:
        """Which samples a split has, as `project.data.identity.identities`; files are read once."""
        if split not in self._identities:
            self._identities[split] = identities(self.splits[split])
        return self._identities[split]

    def groups(self, split: Split) -> dict[str, list[str | None]]:
        """By which attributes a set can be cut into groups: the value of each sample of a split, where it has one."""
        return {}

    def training_order(self) -> TrainingOrder | EvaluationOrder:
        """Batches of an epoch of this process."""
        overfitting = getattr(self.trainer, "overfit_batches", 0) > 0
        return self._order("train", OverfittingOrder if overfitting else TrainingOrder)

    def _square(self, split: Split) -> tuple[int, float]:
        """Side of the images of a split, and how much of the central square they show."""
        return (self.train_size, 1.0) if split == "train" else (self.image_size, self.center_crop)

    # ---- Lightning's hooks

    def prepare_data(self) -> None:
        """Decodes on one process of each machine; the others read the result."""
        if self.trainer is not None and self.trainer.state.fn != "predict" and self.resident:
            for split in self._needed(self.trainer.state.fn):
                self._store(split)

    def setup(self, stage: str) -> None:
        """Refuses mixing without a second class, and says once what `test` will see."""
        if stage == "fit" and self.augment.mixes and np.ptp(self.splits["train"].labels) == 0:
            raise ConfigError("data.augment: mixup and cutmix need training images of two classes or more; "
                              "set them to 0")  # fmt: skip
        if stage == "test" and "test" not in self.splits:
            rank_zero_info("data: there is no labelled test split; test uses the validation split")

    def train_dataloader(self) -> Loader:
        """Shuffled and augmented."""
        return self._loader("train", type(self.training_order()))

    def val_dataloader(self) -> Loader:
        """Every sample once, shared among the processes."""
        return self._loader("val", EvaluationOrder)

    def test_dataloader(self) -> Loader:
        """The test split, or validation where there is none."""
        return self._loader("test" if "test" in self.splits else "val", EvaluationOrder)

    def predict_dataloader(self) -> Loader:
        """The files that `predict` names, brought to the size that the network was trained on."""
        paths = find_inputs(self.predict)
        task: Any = self.trainer.lightning_module if self.trainer else self
        value_range = getattr(task, "value_range", None)
        samples = Samples(paths, np.zeros(len(paths), np.int64), "predict", value_range=value_range)
        order = self._evaluation_order(len(paths), min(self.eval_batch_size, 64))
        workers = self.num_workers if len(paths) > 64 else 0  # starting them takes longer than a few images
        return self._kept(
            "predict",
            StreamingLoader(
                samples, task.image_size, order, workers, self.seed, None, task.center_crop, skip_bad=self.skip_bad
            ),
        )

    @property
    def unreadable_inputs(self) -> dict[int, str]:
        """One line for each file to predict on that could not be read so far, by its index."""
        return getattr(self._loaders.get("predict"), "skipped", {})

    def batches_in_order(
        self, split: Split, device: torch.device | None = None, at_most: int | None = None
    ) -> Iterator[Batch]:
        """All samples of a split as they are, whatever the number of processes.

        Args:
            split: which.
            device: to put them on; by default the one that trains, or the CPU without a Trainer.
            at_most: how many, spread evenly over the split, whose files may be sorted by class.
        """
        device = device or device_of(self.trainer)
        length = len(self._store(split).labels) if self.resident else len(self.splits[split])  # but for bad files
        every = 1 if at_most is None else -(-length // at_most)
        order = EvaluationOrder(length, self.eval_batch_size, world_size=every)
        loader = self._image_loader(split, order, device)
        for batch in loader:
            batch = move_data_to_device(batch, device)
            yield ImageDataModule.on_after_batch_transfer(self, batch, 0)
        loader.close()

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Ends a streamed batch on the device; a resident one is ready."""
        return batch.augmented(self.augment, self.seed) if isinstance(batch, Streamed) else batch

    def teardown(self, stage: str) -> None:
        """Ends worker processes, and keeps what they could not read."""
        _ = self.skipped_images
        for loader in self._loaders.values():
            loader.close()
        self._loaders.clear()

    def on_exception(self, exception: BaseException) -> None:
        """Likewise when a run breaks off."""
        self.teardown("")

    # ---- how

    @staticmethod
    def _needed(stage: str | None) -> tuple[Split, ...]:
        needed: dict[str | None, tuple[Split, ...]] = {"fit": ("train", "val"), "validate": ("val",)}
        return needed.get(stage, ("test",))

    def _store(self, split: Split) -> Store:
        split = split if split in self.splits else "val"
        if split not in self._stores:
            skip_bad = self.skip_bad and split == "train"
            size, crop = self._square(split)
            self._stores[split] = build_store(self.splits[split], size, self.cache_dir, skip_bad, crop)
        return self._stores[split]

    def _order(
        self, split: Split, order_class: type[TrainingOrder] | type[EvaluationOrder]
    ) -> TrainingOrder | EvaluationOrder:
        length = len(self._store(split).labels) if self.resident else len(self.splits[split])
        if order_class is EvaluationOrder:
            return self._evaluation_order(length, self.eval_batch_size)
        rank, world_size = rank_of(self.trainer)
        labels = self._store(split).labels.numpy() if self.resident else self.splits[split].labels
        if order_class is OverfittingOrder:
            return OverfittingOrder(labels, self.batch_size, self.seed, rank, world_size)
        return TrainingOrder(length, self.batch_size, self.seed, rank, world_size, labels, self.balance, self.repeats)

    def _loader(self, split: Split, order_class: type[TrainingOrder] | type[EvaluationOrder]) -> Loader:
        loader = self._image_loader(split, self._order(split, order_class), device_of(self.trainer))
        return self._kept(f"{split} {order_class.__name__}", loader)

    def _image_loader(self, split: Split, order: TrainingOrder | EvaluationOrder, device: torch.device) -> Loader:
        training = split == "train"
        augmentation = self.augment if isinstance(order, TrainingOrder) else None
        if self.resident:
            return ResidentLoader(self._store(split), order, device, self.seed, augmentation)
        size, crop = self._square(split)
        return StreamingLoader(
            self.splits[split],
            size,
            order,
            self.num_workers,
            self.seed,
            augmentation,
            crop,
            skip_bad=self.skip_bad and training,
            pin_memory=device.type == "cuda",
        )

    def _evaluation_order(self, length: int, batch_size: int) -> EvaluationOrder:
        rank, world_size = rank_of(self.trainer)
        if length < world_size:  # a process without any would keep the others waiting
            raise DataError(f"data: {length} images cannot be shared among {world_size} processes; use fewer devices")
        return EvaluationOrder(length, batch_size, rank, world_size)

    def _kept(self, name: str, loader: Loader) -> Loader:
        """Closes the one that it takes the place of, as with `reload_dataloaders_every_n_epochs`."""
        if name in self._loaders:
            _ = self.skipped_images
            self._loaders[name].close()
        self._loaders[name] = loader
        return loader
