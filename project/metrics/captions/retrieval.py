"""How well images and sentences find each other, from their similarities.

Shapes: I images, C captions.
"""

from __future__ import annotations

import torch
from torch import Tensor


def retrieval_scores(similarities: Tensor, image_of_caption: Tensor) -> dict[str, float]:
    """Recall at 1, 5 and 10 and the median rank, in both directions, as captioning papers report them.

    Karpathy and Fei-Fei 2015, arXiv:1412.2306, table 1. The rank of an image's search is that of the best of its own
    captions, and begins at 1. What ties with a right answer counts as found before it, so that equal similarities
    throughout are no success.

    Args:
        similarities: (I, C) float, higher is more alike.
        image_of_caption: (C,) int64, the image that each caption describes; every image has one or more.

    Returns:
        `image_to_text_recall_1`, `_5`, `_10` in 0..1 and `image_to_text_median_rank`, and the same of `text_to_image`.
    """
    captions = torch.arange(similarities.shape[1], device=similarities.device)
    right = similarities[image_of_caption, captions]  # (C,)
    own = image_of_caption == torch.arange(len(similarities), device=similarities.device)[:, None]  # (I, C)
    best = torch.where(own, similarities, -torch.inf).amax(dim=1)
    ranks = {
        "image_to_text": 1 + ((similarities >= best[:, None]) & ~own).sum(dim=1),
        "text_to_image": (similarities >= right).sum(dim=0),
    }
    scores = {}
    for direction, rank in ranks.items():
        for cutoff in (1, 5, 10):
            scores[f"{direction}_recall_{cutoff}"] = (rank <= cutoff).double().mean().item()
        scores[f"{direction}_median_rank"] = rank.double().quantile(0.5).item()
    return scores
