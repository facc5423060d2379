"""Two loaders that yield the same `Batch`: one gathers from images in memory, one streams files through workers.

Both take their order from an object with `batches(start)` and keep how many batches of the epoch they have yielded,
which Lightning saves and restores through `state_dict` and `load_state_dict`: a resumed epoch continues where it was.

Shapes: B images, S × S pixels.
"""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, get_worker_info
from torchvision.transforms.v2 import functional as transforms

from project.data.augmentation import Augmentation
from project.data.batch import Batch
from project.data.images import load_square, open_rgb
from project.data.order import EvaluationOrder, TrainingOrder, index_of
from project.data.samples import Samples
from project.data.store import Store
from project.errors import DataError

_PATIENCE = 60  # seconds for a batch of worker processes
_SHARED = "/dev/shm"  # noqa: S108  where torch's shared memory lies, of which a container has 64 MiB by default
_LEAST_SHARED = 2**20  # bytes, with which the queues of the workers come up


class Loader:
    """What both loaders share: the order, the place in the epoch, and Lightning's protocol for them."""

    def __init__(self, order: TrainingOrder | EvaluationOrder) -> None:
        self.order = order
        self._start = 0
        self._yielded = 0
        if isinstance(order, TrainingOrder):
            self.sampler = order  # where Lightning looks for `set_epoch`

    def __len__(self) -> int:
        return len(self.order)

    def __iter__(self) -> Iterator[Batch]:
        # a generator, so that nothing is read before Lightning has set the epoch
        start, self._start = self._start, 0
        self._yielded = start
        for batch in self._batches(start):
            self._yielded += 1
            yield batch

    def _batches(self, start: int) -> Iterator[Any]:
        raise NotImplementedError

    def close(self) -> None:
        """Gives back what the loader holds; it is not to be used afterwards."""

    def state_dict(self) -> dict[str, int]:
        """Batches yielded in the current epoch, and its division into batches."""
        return {"yielded": self._yielded, **(self.order.state() if isinstance(self.order, TrainingOrder) else {})}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Makes the next iteration begin after the batches already yielded; after a whole epoch, with a new one.

        Raises:
            DataError: the rest of the epoch cannot be divided among the processes of now.
            ValueError: the state is damaged.
        """
        division = {name: value for name, value in state.items() if name != "yielded"}
        yielded = state["yielded"]
        if type(yielded) is not int or yielded < 0:
            raise ValueError("the place in the epoch is no count")
        if not (yielded or division.get("before")) or yielded >= division.get("batches", len(self)):
            yielded = 0
        elif isinstance(self.order, TrainingOrder):
            yielded = self.order.resume(division, yielded)
        self._start = self._yielded = yielded


class ResidentLoader(Loader):
    """Gathers batches from a split held in memory, on the device that trains.

    Args:
        store: the split's images; moved to `device` once.
        order: which samples make each batch.
        device: where batches are made.
        seed: with the epoch and the view it determines the augmentation.
        augmentation: `None` to leave the images as they are.
    """

    def __init__(
        self,
        store: Store,
        order: TrainingOrder | EvaluationOrder,
        device: torch.device,
        seed: int,
        augmentation: Augmentation | None = None,
    ) -> None:
        super().__init__(order)
        self.indices = store.indices
        self.images = store.images.to(device)
        self.labels = store.labels.to(device)
        self.seed = seed
        self.augmentation = augmentation

    def _batches(self, start: int) -> Iterator[Batch]:
        batches = list(self.order.batches(start))
        if not batches:
            return
        views = np.concatenate(batches)
        positions = index_of(views)
        if self.indices is not None:  # some files were left out
            views = views - positions + self.indices[positions]
        device = self.images.device
        # the whole epoch's plan crosses to the device at once, so that no step waits for a copy
        rows = torch.from_numpy(positions).to(device)
        indices = rows if self.indices is None else torch.from_numpy(index_of(views)).to(device)
        if self.augmentation:
            assert isinstance(self.order, TrainingOrder), "what is evaluated is shown as it is"
            plan = self.augmentation.plan(self.seed, self.order.epoch, views, self.images.shape[1]).to(device)
        first = 0
        for size in map(len, batches):
            part = slice(first, first + size)
            first += size
            labels = self.labels[rows[part]]
            if self.augmentation is None:
                images = self.images.index_select(0, rows[part]).permute(0, 3, 1, 2)
                yield Batch(images, labels, indices[part])
            else:
                yield self.augmentation.apply(self.images, rows[part], labels, indices[part], plan.part(part))


class Streamed(NamedTuple):
    """A batch as it leaves the workers; the augmentation follows on the device.

    images: (B, S, S, 3) uint8. labels: (B,) int64. views: (B,) int64 on the host. epoch: `None` outside training.
    """

    images: Tensor
    labels: Tensor
    views: np.ndarray
    epoch: int | None

    def augmented(self, augmentation: Augmentation, seed: int) -> Batch:
        """The batch that the resident path would have given."""
        device = self.images.device
        indices = torch.from_numpy(index_of(self.views)).to(device, non_blocking=True)
        whole = Batch(self.images.permute(0, 3, 1, 2), self.labels, indices)
        if self.epoch is None:
            return whole
        plan = augmentation.plan(seed, self.epoch, self.views, self.images.shape[1]).to(device)
        if not augmentation.changes_batch:
            return whole._replace(view=plan.view, on_host=plan.on_host)
        rows = torch.arange(len(self.images), device=device)
        return augmentation.apply(self.images, rows, self.labels, indices, plan)


class StreamingLoader(Loader):
    """Decodes files in worker processes.

    Args:
        samples: the split, as paths.
        size: S.
        order: which samples make each batch.
        num_workers: processes that decode; 0 decodes in this one.
        seed: with the epoch and the view it determines the augmentation.
        augmentation: `None` to leave the images as they are.
        center_crop: share of the shorter side that the central square has.
        skip_bad: leave out files that cannot be read and list them in `skipped`, instead of raising.
        pin_memory: whether batches are made ready for an asynchronous copy to a GPU.
    """

    def __init__(
        self,
        samples: Samples,
        size: int,
        order: TrainingOrder | EvaluationOrder,
        num_workers: int,
        seed: int,
        augmentation: Augmentation | None = None,
        center_crop: float = 1.0,
        skip_bad: bool = False,
        pin_memory: bool = False,
    ) -> None:
        super().__init__(order)
        self.split = samples.split
        self.skip_bad = skip_bad
        self.skipped: dict[int, str] = {}
        self._keyed = _KeyedBatches(order)
        self._iterator: Iterator[_Collated | str] | None = None
        self._make_loader = partial(
            DataLoader,
            _Files(samples, size, center_crop, seed, augmentation),
            batch_sampler=self._keyed,
            num_workers=num_workers,
            collate_fn=_collate,
            worker_init_fn=_leave_group,
            pin_memory=pin_memory,
            persistent_workers=num_workers > 0,
            # without it `iter` would draw from torch's global state, at another moment on resuming
            generator=torch.Generator(),
        )
        self._loader: DataLoader[Any] | None = self._make_loader(timeout=_PATIENCE if num_workers else 0)

    def close(self) -> None:
        """Ends the worker processes now, and not when the garbage collector comes by."""
        self._loader = self._iterator = None

    def _batches(self, start: int) -> Iterator[Streamed]:
        for batch, errors in self._items(start):
            if errors and not self.skip_bad:
                raise DataError(f"{self.split} split: {next(iter(errors.values()))}")
            self.skipped.update(errors)
            if batch is None and self.split == "predict":
                continue  # each file has an entry that says so
            if batch is None:
                raise DataError(
                    f"{self.split} split: none of a whole batch of {len(errors)} images can be read: {errors.popitem()[1]}"
                )
            yield batch

    def _items(self, start: int) -> Iterator[_Collated]:
        """What workers give, from the batch `start` on; where they have hung, others go on from the same batch.

        A forked process may wait for ever for a lock that another thread held at that moment (PyTorch issue 130610).
        """
        while True:
            assert self._loader is not None, "closed"
            if self._loader.num_workers and os.path.isdir(_SHARED) and shutil.disk_usage(_SHARED).free < _LEAST_SHARED:
                raise DataError(f"{self.split} split: {_no_shared_memory('less than 1 MiB is free')}")
            self._keyed.start = start
            # the only reference to the workers' iterator, so that `close` ends them in mid-epoch too
            self._iterator = iter(self._loader)
            try:
                while (item := next(self._iterator, None)) is not None:
                    if isinstance(item, str):
                        raise DataError(f"{self.split} split: {item}")
                    start += 1
                    yield item
                return
            except RuntimeError as error:
                if not str(error).startswith("DataLoader timed out"):
                    raise
            warnings.warn(f"{self.split} split: no worker has given a batch for {_PATIENCE} s; others take their place, "
                          "which are waited for however long they take", stacklevel=2)  # fmt: skip
            self._iterator = None
            self._loader = self._make_loader()


_Collated = tuple[Streamed | None, dict[int, str]]
"""A batch, without the files that cannot be read, and what is wrong with these by their index."""
_Item = tuple[np.ndarray | None, int, int, int | None, str]
"""One file: pixels, label, view, epoch where it is augmented, and what is wrong with it."""


def _leave_group(worker: int) -> None:
    """Makes a worker a process group of its own: a SIGTERM to the whole group, as from `timeout`, is for the trainer."""
    if hasattr(os, "setpgid"):
        os.setpgid(0, 0)


class _KeyedBatches:
    """A batch sampler whose keys carry the epoch, since workers outlive it."""

    def __init__(self, order: TrainingOrder | EvaluationOrder) -> None:
        self.order = order
        self.start = 0

    def __len__(self) -> int:
        return len(self.order)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        epoch = getattr(self.order, "epoch", 0)
        for views in self.order.batches(self.start):
            yield [(epoch, int(view)) for view in views]


class _Files(Dataset[_Item]):
    """Decodes one file; an unreadable one is returned as its message, since worker processes garble exceptions."""

    def __init__(self, samples: Samples, size: int, crop: float, seed: int, augmentation: Augmentation | None) -> None:
        # not the samples themselves: of what else they hold, such as captions, each worker would have a copy
        self.images = samples.images
        self.labels = samples.labels
        self.value_range = samples.value_range
        self.size = size
        self.crop = crop
        self.seed = seed
        self.augmentation = augmentation

    def __getitem__(self, key: tuple[int, int]) -> _Item:
        epoch, view = key
        index = int(index_of(np.int64(view)))
        try:
            image = self._read(self.images[index], epoch, view)
        except DataError as error:
            return None, 0, view, None, str(error)
        return image, int(self.labels[index]), view, epoch if self.augmentation else None, ""

    def _read(self, path: Path, epoch: int, view: int) -> np.ndarray:
        if self.augmentation and self.augmentation.min_area < 1:
            image = transforms.pil_to_tensor(open_rgb(path, value_range=self.value_range))
            draws = self.augmentation.box_draws(self.seed, epoch, view)
            box = random_box(image.shape[1], image.shape[2], self.augmentation.min_area, draws)
            image = transforms.resized_crop(image, *box, [self.size, self.size], antialias=True)
            return np.ascontiguousarray(image.permute(1, 2, 0))
        return load_square(path, self.size, self.crop, self.value_range)


def random_box(height: int, width: int, min_area: float, draws: np.ndarray) -> tuple[int, int, int, int]:
    """The box of a random resized crop: (top, left, height, width) in pixels, inside the image.

    The area is uniform in [min_area, 1] of the image's and the aspect ratio log-uniform in [3/4, 4/3], as torchvision
    draws them; a side that would not fit is cut to the image.

    Args:
        height: of the image.
        width: of the image.
        min_area: smallest share of the area.
        draws: 4 uniform numbers.
    """
    area = (min_area + (1 - min_area) * draws[0]) * height * width
    ratio = (3 / 4) ** (1 - 2 * draws[1])
    box_width = min(max(round((area * ratio) ** 0.5), 1), width)
    box_height = min(max(round((area / ratio) ** 0.5), 1), height)
    top = int(draws[2] * (height - box_height + 1))
    left = int(draws[3] * (width - box_width + 1))
    return top, left, box_height, box_width


def _collate(items: list[_Item]) -> _Collated | str:
    """A batch, or why it cannot be handed over: worker processes garble exceptions."""
    errors = {int(index_of(np.int64(view))): message for _, _, view, _, message in items if message}
    good = [item for item in items if not item[-1]]
    if not good:
        return None, errors
    images, labels, views, epochs, _ = zip(*good, strict=True)
    batch = Streamed(torch.from_numpy(np.stack(images)), torch.tensor(labels), np.array(views), epochs[0])
    if get_worker_info() is not None:
        try:  # here, since an error of the queue, which would do it, is printed, and its batch waited for
            batch.images.share_memory_()
            batch.labels.share_memory_()
        except RuntimeError as error:
            return _no_shared_memory(f"none for a batch of {batch.images.nbytes / 2**20:.1f} MiB: {error}")
    return batch, errors


def _no_shared_memory(reason: str) -> str:
    return (f"the worker processes need more shared memory ({reason}); make {_SHARED} larger (docker run --shm-size 8g), "
            "or set --data.num_workers 0")  # fmt: skip
