"""What loaders yield and tasks consume.

Shapes: B images, S × S pixels.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from torch import Tensor


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
    indices: (B,) int64, the sample's index in its split.
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
