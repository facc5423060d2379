"""What a frozen network sees, computed once for all epochs.

Shapes: B images, L places of the grid, D features at each.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from project.data.cache import CachedRows, cache_key, one_process_first
from project.data.captions.base import CaptionDataModule
from project.data.captions.features import FeatureTable, keep_features
from project.data.samples import Split
from project.errors import ConfigError
from project.tasks.student import fingerprint

if TYPE_CHECKING:
    from project.tasks.captioner import Captioner


def use_features(task: Captioner, data: CaptionDataModule) -> None:
    """Lets the data hand out features in the place of training and validation images.

    They lie in `data.cache_dir`, under a name that is a hash of the encoder's weights, of the preprocessing and of the
    images: features of another network are never found.

    Args:
        task: a captioner whose encoder does not learn.
        data: what it is trained on.

    Raises:
        ConfigError: the encoder learns, or captions are an ensemble's, whose other members would have their own features.
    """
    if task.search.decoding.ensemble:
        raise ConfigError(
            "data.cache_features: the other networks of model.decoding.ensemble want images; give one of both"
        )
    encoder = task.network.encoder
    if any(parameter.requires_grad for parameter in encoder.parameters()):
        raise ConfigError("data.cache_features: the network that sees learns, too; freeze it with "
                          "--model.fine_tuning.frozen all, or set it to false")  # fmt: skip
    for split in ("train", "val"):
        data.use_features(split, one_process_first(task.trainer.local_rank, partial(_features, task, data, split)))


def _features(task: Captioner, data: CaptionDataModule, split: Split) -> FeatureTable:
    names = ("image_size", "center_crop", "backbone", "backbone_options", "mean", "std")
    samples, side = data.splits[split], data.train_size if split == "train" else data.image_size
    facts = [samples.fingerprint(), side, str(task.trainer.precision), fingerprint([task.network.encoder])]
    key = cache_key([*facts, *(task.hparams[name] for name in names)], samples)
    (one,) = _grids(task, [torch.zeros(1, 3, side, side, dtype=torch.uint8, device=task.device)])
    shape = tuple(one.shape[1:])
    rows = CachedRows(data.cache_dir / f"features-{key}.cache", len(samples), shape, np.float16, "features")

    def features() -> Iterator[Tensor]:
        return _grids(task, (batch.images for batch in data.batches_in_order(split)))

    return keep_features(rows, features, data.resident_gib)


@torch.no_grad()
def _grids(task: Captioner, batches: Iterable[Tensor]) -> Iterator[Tensor]:
    """(B, L, D) at a time, in order."""
    encoder = task.network.encoder
    was_training = encoder.training
    encoder.eval()
    for images in batches:
        with task.trainer.precision_plugin.forward_context():
            yield task(images).grid
    encoder.train(was_training)
