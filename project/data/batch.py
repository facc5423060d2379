"""What loaders yield and tasks consume.

Shapes: B images, S × S pixels.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from project.errors import DataError


class Mixed(NamedTuple):
    """What MixUp or CutMix has put into each image.

    labels: (B,) int64, of the image that was mixed in.
    share: (B,) float32 in 0..1, how much of the image is still its own.
    """

    labels: Tensor
    share: Tensor


class Batch(NamedTuple):
    """Images with their labels and their place in the split.

    images: (B, 3, S, S) uint8 in 0..255, stored channels-last. The task normalises them: the normalisation belongs to
        the network, lies in its checkpoint, and differs between a student and its teacher.
    labels: (B,) int64, an index into `class_names`.
    indices: (B,) int64, the sample's index in its split; -1 in batches of a plain loader.
    mixed: where the images are mixed, with what.
    view: (B,) int64, which of the `Augmentation.num_views` pictures of its sample each image is; in training, where
        they can be counted.
    on_host: (2, B) int64, `indices` and `view` again in host memory, which nothing need wait for; likewise.
    """

    images: Tensor
    labels: Tensor
    indices: Tensor
    mixed: Mixed | None = None
    view: Tensor | None = None
    on_host: np.ndarray | None = None


def as_batch(batch: Any, image_size: int, num_classes: int | None) -> Batch:
    """The batch of any loader: one of these, or (images, labels), or images alone where no labels are needed.

    Args:
        batch: as the loader yields it.
        image_size: S of the network.
        num_classes: K; without it, labels are neither needed nor checked.

    Raises:
        DataError: shape, dtype or labels do not fit the network.
    """
    if not isinstance(batch, Batch):
        parts = list(batch) if isinstance(batch, (list, tuple)) else [batch]
        labelled = len(parts) == 2 or (len(parts) == 1 and num_classes is None)
        if not labelled or not all(isinstance(part, Tensor) for part in parts):
            found = ", ".join(_brief(part) for part in parts)
            needed = "images" if num_classes is None else "(images, labels)"
            raise DataError(f"loader: a batch must be {needed}, tensors; got {found or 'nothing'}; or give the "
                            "datamodule: datamodule=data")  # fmt: skip
        unknown = parts[0].new_full(parts[0].shape[:1], -1, dtype=torch.int64)
        batch = Batch(parts[0], unknown if num_classes is None else parts[1], unknown)
    images, labels = batch.images, batch.labels
    shape = (3, image_size, image_size)
    if images.dtype != torch.uint8 or images.shape[1:] != shape:
        raise DataError(f"loader: images must be uint8 (B, {', '.join(map(str, shape))}) in 0..255; got {_brief(images)}; "
                        "the task normalises them itself, so leave out ToTensor and Normalize, and use PILToTensor")  # fmt: skip
    if num_classes is None:
        return batch
    if labels.is_floating_point() or labels.dtype == torch.bool or labels.shape != images.shape[:1]:
        raise DataError(f"loader: labels must be whole numbers ({len(images)},), one per image; got {_brief(labels)}")
    batch = batch._replace(labels=labels.long())
    low, high = (int(bound) for bound in batch.labels.aminmax()) if len(labels) else (0, 0)
    if low < 0 or high >= num_classes:
        odd = low if low < 0 else high
        raise DataError(f"loader: label {odd} is none of the task's {num_classes} classes, 0..{num_classes - 1}")
    return batch


def _brief(value: Any) -> str:
    if not isinstance(value, Tensor):
        return type(value).__name__
    return f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"
