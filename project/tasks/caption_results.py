"""Captions of an evaluation as files that coco-caption and `scripts/score_captions.py` read."""

from __future__ import annotations

from typing import Any

from lightning.pytorch.utilities.rank_zero import rank_zero_info

from project.metrics.captions.cider import ONE_IMAGE
from project.metrics.captions.corpus import Corpus


def caption_files(said: Corpus, data: Any, stage: str) -> dict[str, Any]:
    """The captions of a split in COCO's results form, and its references in the form of COCO's annotations.

    Args:
        said: as `CaptionScores.captions` gives them; the ids are indices into the split.
        data: the datamodule; the ids of images are those of its annotations.
        stage: `val` or `test`.

    Returns:
        `captions` and `references`, of JSON types; none of data without splits of captioned images.
    """
    if len(said.ids) == 1:
        rank_zero_info(f"{stage}: {ONE_IMAGE}")
    splits = getattr(data, "splits", {})
    split: Any = splits.get(stage) or splits.get(
        "val"
    )  # a set without test images has its validation split in their place
    if not hasattr(split, "image_ids"):
        return {}
    ids, places = split.image_ids(), [int(str(place)) for place in said.ids]
    captions = [{"image_id": ids[n], "caption": text} for n, text in zip(places, said.predictions, strict=True)]
    references = [(ids[n], text) for n, texts in zip(places, said.references, strict=True) for text in texts]
    names = None if split.in_memory else split.keys()
    images = [{"id": ids[n]} | ({} if names is None else {"file_name": names[n]}) for n in places]
    annotations = [
        {"image_id": image, "id": number, "caption": text} for number, (image, text) in enumerate(references)
    ]
    return {"captions": captions, "references": {"images": images, "annotations": annotations}}
