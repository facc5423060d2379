"""What a frozen network sees, computed once for all epochs.

Shapes: B images, L places of the grid, D features at each.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING

import torch
from lightning.fabric.utilities.distributed import _InfiniteBarrier
from torch import Tensor

from project.data.captions.base import CaptionDataModule
from project.data.captions.features import write_features
from project.data.samples import Split
from project.data.store import file_state
from project.errors import ConfigError

if TYPE_CHECKING:
    from project.tasks.captioner import Captioner


def keep_features(task: Captioner, data: CaptionDataModule) -> None:
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
        path = data.cache_dir / f"features-{_key(task, data, split)}.npy"
        with _InfiniteBarrier():  # computing them may take longer than processes wait for each other
            if task.trainer.local_rank == 0:  # of each machine, whose folder may be its own
                write_features(path, len(data.splits[split]), partial(_grids, task, data, split))
        data.use_features(split, path)


def _key(task: Captioner, data: CaptionDataModule, split: Split) -> str:
    names = ("image_size", "center_crop", "backbone", "backbone_options", "mean", "std")
    facts = [data.splits[split].fingerprint(), data.train_size, str(task.trainer.precision)]
    digest = sha256(json.dumps([*facts, *(task.hparams[name] for name in names)]).encode())
    if not data.splits[split].in_memory:  # a file that was changed has other pixels
        for path in data.splits[split].images:
            digest.update(repr(file_state(path)).encode())
    for tensor in task.network.encoder.state_dict().values():
        digest.update(tensor.cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()[:32]


@torch.no_grad()
def _grids(task: Captioner, data: CaptionDataModule, split: Split) -> Iterator[Tensor]:
    """(B, L, D) at a time, in order."""
    encoder = task.network.encoder
    was_training = encoder.training
    encoder.eval()
    for batch in data.batches_in_order(split):
        with task.trainer.precision_plugin.forward_context():
            yield task(batch.images).grid
    encoder.train(was_training)
