"""What the loaders of captioned images yield and captioners consume.

Shapes: B images of S × S pixels, R captions of each, T words with the end's mark.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class CaptionBatch(NamedTuple):
    """Images with captions and their place in the split.

    images: (B, 3, S, S) uint8 in 0..255, stored channels-last, as in `project.data.batch.Batch`; or with
        `cache_features` what the network sees in them, (B, L, D) float16.
    tokens: (B, R, T) int64, the words of each caption and END, then PAD. Of an image with fewer than R captions the
        last rows are PAD throughout. (B, 0, 0) in prediction.
    indices: (B,) int64, the sample's index in its split.
    references: the texts of each image as the data set has them; in validation and test alone.
    """

    images: Tensor
    tokens: Tensor
    indices: Tensor
    references: list[list[str]] | None = None
