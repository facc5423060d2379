"""Scores of captions that any tool wrote, from files in the usual forms."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from pathlib import Path
from typing import NamedTuple

from project.data.captions.annotations import Entry, load_json, read_json
from project.data.captions.karpathy import said_in
from project.errors import ConfigError, DataError, did_you_mean
from project.metrics.captions import CaptionScores


class References(NamedTuple):
    """The captions of each image by its id, and those of the training split where the file has one."""

    captions: dict[Hashable, list[str]]
    training: list[str] | None


def read_references(path: str | Path, split: str = "test") -> References:
    """Reads COCO's `captions_*.json`, or one split of a Karpathy `dataset_*.json`.

    COCO: `{"images": [{"id": 1}, ...], "annotations": [{"image_id": 1, "caption": "..."}, ...]}`. Karpathy:
    `{"images": [{"split": "test", "cocoid": 1, "sentences": [{"raw": "..."}, ...]}, ...]}`, where an image without a
    `cocoid` is known by its `imgid`.

    Args:
        path: the file.
        split: of Karpathy's, the one that is scored.

    Raises:
        DataError: the file is absent or has another form, or an image has no caption.
    """
    file = read_json("--references", str(path))
    if "annotations" in file:
        return References(_coco(file), None)
    return _karpathy(file, split)


def read_predictions(path: str | Path) -> dict[Hashable, str]:
    """Reads results in COCO's form, `[{"image_id": 1, "caption": "..."}, ...]`: one caption by image id.

    Raises:
        DataError: the file is absent or has another form, or an image comes twice.
    """
    where, content = load_json("--predictions", str(path))
    if not isinstance(content, list):
        raise DataError(f'{where}: results are a list of objects, [{{"image_id": 1, "caption": "..."}}, ...]')
    predictions: dict[Hashable, str] = {}
    for index, item in enumerate(content):
        entry = Entry(f"{where}: [{index}]", item)
        image = entry.get("image_id", int, str, why="every result needs the id of its image")
        if image in predictions:
            raise DataError(f"{entry.where}: image {image!r} was predicted before; keep one caption of it")
        predictions[image] = entry.get("caption", str, why="every result needs one")
    return predictions


def score_captions(
    predictions: dict[Hashable, str],
    references: References,
    java: Iterable[str] = (),
    subset: bool = False,
) -> dict[str, float]:
    """Every score by its plain name, `bleu_1` to `bleu_4`, `rouge_l`, `cider_d` and the others of `CaptionScores`.

    Args:
        predictions: as `read_predictions` gives them.
        references: as `read_references` gives them.
        java: `meteor` and `spice`, where they are wanted.
        subset: whether images without a prediction are left out. CIDEr-D weighs words by the images scored, so that of
            a subset cannot be compared with that of the whole.

    Raises:
        DataError: an image that is predicted has no references, or the other way round.
        ConfigError: Java or pycocoevalcap is missing.
    """
    captions = references.captions
    if unknown := [image for image in predictions if image not in captions]:
        known = map(str, captions)
        raise DataError(
            f"predictions: {len(unknown)} of {len(predictions)} images are not among the references, first {unknown[0]!r}; "
            f"{did_you_mean(str(unknown[0]), known) if len(captions) <= 10_000 else 'score them against their own split'}"
        )
    missing = [image for image in captions if image not in predictions]
    if missing and not subset:
        raise DataError(
            f"predictions: {len(missing)} of {len(captions)} images have none, first {missing[0]!r}; add them, or score "
            "those that are there with --subset"
        )
    if not predictions:
        raise DataError("predictions: there are none")
    scores = CaptionScores(references.training, java)
    ids = list(predictions)
    scores.update(list(predictions.values()), [captions[image] for image in ids], ids)
    return scores.compute()


def _coco(file: Entry) -> dict[Hashable, list[str]]:
    captions: dict[Hashable, list[str]] = {}
    for entry in file.entries("images", "the file needs a list of images"):
        image = entry.get("id", int, str, why="every image needs one")
        if image in captions:
            raise DataError(f"{entry.place('id')}: image {image!r} is listed before; remove one of them")
        captions[image] = []
    for entry in file.entries("annotations", "the file needs a list of captions"):
        image = entry.get("image_id", int, str, why="every caption needs the id of its image")
        if image not in captions:
            raise DataError(
                f"{entry.place('image_id')}: the file has no image {image!r}; add it, or remove the caption"
            )
        captions[image].append(entry.get("caption", str, why="every annotation needs one"))
    for image, texts in captions.items():
        if not texts:
            raise DataError(f"{file.where}: image {image!r} has no caption; add one, or remove the image")
    return captions


def _karpathy(file: Entry, split: str) -> References:
    captions: dict[Hashable, list[str]] = {}
    training: list[str] = []
    splits: set[str] = set()
    for entry in file.entries("images", "the file needs a list of images"):
        its_split = entry.get("split", str, why="every image needs one")
        splits.add(its_split)
        if its_split not in (split, "train", "restval"):
            continue
        texts = [said_in(sentence)[0] for sentence in entry.entries("sentences", "every image needs a list of them")]
        if its_split in ("train", "restval"):
            training += texts
        if its_split == split:
            image = entry.get("cocoid" if "cocoid" in entry else "imgid", int, str, why="every image needs one")
            if image in captions:
                raise DataError(f"{entry.where}: image {image!r} is listed before; remove one of them")
            if not texts:
                raise DataError(f"{entry.where}: image {image!r} has no caption; add one, or remove the image")
            captions[image] = texts
    if not captions:
        raise ConfigError(f"--split: {file.where} has no images of '{split}'; {did_you_mean(split, splits)}")
    return References(captions, training or None)
