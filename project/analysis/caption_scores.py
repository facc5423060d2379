"""Scores of captions that any tool wrote, from files in the usual forms."""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

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
    content = _read_json(path)
    images = _field(content, "images", list, f"{path}")
    if "annotations" in content:
        return References(_coco(content, images, path), None)
    return _karpathy(images, path, split)


def read_predictions(path: str | Path) -> dict[Hashable, str]:
    """Reads results in COCO's form, `[{"image_id": 1, "caption": "..."}, ...]`: one caption by image id.

    Raises:
        DataError: the file is absent or has another form, or an image comes twice.
    """
    content = _read_json(path)
    if not isinstance(content, list):
        raise DataError(f'{path}: results are a list, [{{"image_id": 1, "caption": "..."}}, ...]; got {_kind(content)}')
    predictions: dict[Hashable, str] = {}
    for index, entry in enumerate(content):
        where = f"{path}: [{index}]"
        image = _field(entry, "image_id", int | str, where)
        if image in predictions:
            raise DataError(f"{where}: image {image!r} was predicted before; keep one caption of it")
        predictions[image] = _field(entry, "caption", str, where)
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
        ids = map(str, captions)
        raise DataError(
            f"predictions: {len(unknown)} of {len(predictions)} images are not among the references, first {unknown[0]!r}; "
            f"{did_you_mean(str(unknown[0]), ids) if len(captions) <= 10_000 else 'score them against their own split'}"
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


def _coco(content: dict[str, Any], images: list[Any], path: str | Path) -> dict[Hashable, list[str]]:
    captions: dict[Hashable, list[str]] = {}
    for index, image in enumerate(images):
        where = f"{path}: images[{index}]"
        key = _field(image, "id", int | str, where)
        if key in captions:
            raise DataError(f"{where}: image {key!r} is listed before; remove one of them")
        captions[key] = []
    for index, annotation in enumerate(_field(content, "annotations", list, f"{path}")):
        where = f"{path}: annotations[{index}]"
        key = _field(annotation, "image_id", int | str, where)
        if key not in captions:
            raise DataError(f"{where}: image_id {key!r} is not among the file's images; add it there")
        captions[key].append(_field(annotation, "caption", str, where))
    for key, texts in captions.items():
        if not texts:
            raise DataError(f"{path}: image {key!r} has no caption; add one, or remove the image")
    return captions


def _karpathy(images: list[Any], path: str | Path, split: str) -> References:
    captions: dict[Hashable, list[str]] = {}
    training: list[str] = []
    splits: set[str] = set()
    for index, image in enumerate(images):
        where = f"{path}: images[{index}]"
        its_split = _field(image, "split", str, where)
        splits.add(its_split)
        sentences = _field(image, "sentences", list, where)
        if its_split not in (split, "train", "restval"):
            continue
        texts = [_sentence(sentence, f"{where}.sentences[{i}]") for i, sentence in enumerate(sentences)]
        if its_split in ("train", "restval"):
            training += texts
        if its_split == split:
            key = _field(image, "cocoid" if "cocoid" in image else "imgid", int | str, where)
            if key in captions:
                raise DataError(f"{where}: image {key!r} is listed before; remove one of them")
            if not texts:
                raise DataError(f"{where}: image {key!r} has no caption; add one, or remove the image")
            captions[key] = texts
    if not captions:
        raise ConfigError(f"--split: {path} has no images of '{split}'; {did_you_mean(split, splits)}")
    return References(captions, training or None)


def _sentence(sentence: Any, where: str) -> str:
    if isinstance(sentence, dict) and "raw" not in sentence and isinstance(sentence.get("tokens"), list):
        return " ".join(map(str, sentence["tokens"]))
    return _field(sentence, "raw", str, where)


def _read_json(path: str | Path) -> Any:
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    except ValueError as error:  # of JSON, or of its encoding
        raise DataError(f"{path}: not valid JSON ({error})") from None


def _field(entry: Any, name: str, kind: Any, where: str) -> Any:
    if not isinstance(entry, dict):
        raise DataError(f"{where}: an object with '{name}' is needed; got {_kind(entry)}")
    if name not in entry:
        raise DataError(f"{where}.{name}: missing; {did_you_mean(name, map(str, entry))}")
    value = entry[name]
    if not isinstance(value, kind) or isinstance(value, bool):
        names = {list: "a list", str: "a text", int | str: "a number or a text"}
        raise DataError(f"{where}.{name}: must be {names[kind]}; got {_kind(value)}")
    return value


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a text", type(None): "null", bool: "true or false"}
    return names.get(type(value), "a number")
