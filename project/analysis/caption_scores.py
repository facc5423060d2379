"""Scores of captions that any tool wrote, from files in the usual forms."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from project.data.captions.annotations import Entry, load_json, load_json_lines, read_json
from project.data.captions.karpathy import said_in
from project.errors import ConfigError, DataError, did_you_mean
from project.metrics.captions import CaptionScores
from project.metrics.captions.cider import ONE_IMAGE
from project.metrics.captions.java import JavaMetric

_SEPARATORS = "\r\v\f\u2028\u2029"


class References(NamedTuple):
    """The captions of each image by its id, and what else the file has.

    captions: in the order of the file, in which coco-caption scores them.
    training: those of the training split, where the file has one.
    files: the image's id by the name of its file, as listed.
    """

    captions: dict[Hashable, list[str]]
    training: list[str] | None = None
    files: dict[str, Hashable] = {}  # noqa: RUF012  nobody changes it


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
        return _coco(file)
    return _karpathy(file, split)


def read_predictions(path: str | Path, references: References | None = None) -> dict[Hashable, str]:
    """Reads one caption by image id.

    Args:
        path: results in COCO's form, `[{"image_id": 1, "caption": "..."}, ...]`, or `predictions.jsonl` as `predict`
            writes it, one `{"path": "...", "caption": "..."}` per line; what it has without a caption is left out.
        references: as `read_references` gives them, whose names of files tell the ids for `predictions.jsonl`.

    Raises:
        DataError: the file is absent or has another form, an image comes twice, or its file is not among the references.
    """
    if Path(path).suffix.lower() == ".jsonl":
        return _predicted(path, references or References({}))
    where, content = load_json("--predictions", str(path))
    if not isinstance(content, list):
        raise DataError(
            f'{where}: results are a list of objects, [{{"image_id": 1, "caption": "..."}}, ...], or predictions.jsonl'
        )
    predictions: dict[Hashable, str] = {}
    for index, item in enumerate(content):
        entry = Entry(f"{where}: [{index}]", item)
        image = entry.get("image_id", int, str, why="every result needs the id of its image")
        if image in predictions:
            raise DataError(f"{entry.where}: image {image!r} was predicted before; keep one caption of it")
        predictions[image] = entry.get("caption", str, why="every result needs one")
    return predictions


def as_results(predictions: dict[Hashable, str]) -> list[dict[str, Any]]:
    """Captions by image id in COCO's results form."""
    return [{"image_id": image, "caption": caption} for image, caption in predictions.items()]


def score_captions(predictions: dict[Hashable, str], references: References, subset: bool = False) -> dict[str, float]:
    """Every score by its plain name, `bleu_1` to `bleu_4`, `rouge_l`, `cider_d` and the others of `CaptionScores`.

    Args:
        predictions: as `read_predictions` gives them.
        references: as `read_references` gives them; in their order, as in coco-caption, captions are tokenised.
        subset: whether images without a prediction are left out. CIDEr-D weighs words by the images scored, so that of
            a subset cannot be compared with that of the whole.

    Raises:
        DataError: an image that is predicted has no references, or the other way round.
    """
    scores = CaptionScores(references.training)
    scores.update(*_in_order(predictions, references, subset))
    return scores.compute()


def score_with_java(
    metric: JavaMetric, predictions: dict[Hashable, str], references: References, subset: bool = False
) -> float:
    """METEOR or SPICE of the same captions; the arguments are those of `score_captions`.

    Raises:
        ProgramError: the program failed.
    """
    metric.update(*_in_order(predictions, references, subset))
    return metric.compute().item()


def notes(predictions: dict[Hashable, str], references: References) -> list[str]:
    """One line for each reason why scores are other than expected."""
    texts = [*predictions.values(), *(text for image in predictions for text in references.captions.get(image, []))]
    # at the end of a caption \\r and the line break are one
    broken = sum(any(mark in text.removesuffix("\r") for mark in _SEPARATORS) for text in texts)
    found = [ONE_IMAGE] if len(predictions) == 1 else []
    if broken:
        found.append(
            f"{broken} captions contain a line separator, which is read as a space; coco-caption would give all captions "
            "after it the words of others"
        )
    return found


def _in_order(
    predictions: dict[Hashable, str], references: References, subset: bool
) -> tuple[list[str], list[list[str]]]:
    captions = references.captions
    if unknown := [image for image in predictions if image not in captions]:
        raise DataError(
            f"predictions: {len(unknown)} of {len(predictions)} images are not among the references, first {unknown[0]!r}; "
            + _advice(unknown[0], captions)
        )
    missing = [image for image in captions if image not in predictions]
    if missing and not subset:
        raise DataError(
            f"predictions: {len(missing)} of {len(captions)} images have none, first {missing[0]!r}; add them, or score "
            "those that are there with --subset"
        )
    if not predictions:
        raise DataError("predictions: there are none")
    images = [image for image in captions if image in predictions]
    return [predictions[image] for image in images], [captions[image] for image in images]


def _advice(image: Hashable, known: Iterable[Hashable]) -> str:
    """The end of a sentence about an unknown id."""
    names = {str(other): other for other in known}
    twin = names.get(str(image))
    if twin is not None:  # 1 and '1'
        return f"there it is {_kind(twin)}, {twin!r}, and here {_kind(image)}; give both files ids of one kind"
    return did_you_mean(str(image), names) if len(names) <= 10_000 else "score them against their own split"


def _kind(image: Hashable) -> str:
    return "text" if isinstance(image, str) else "a whole number"


def _predicted(path: str | Path, references: References) -> dict[Hashable, str]:
    listed: dict[str, list[tuple[str, Hashable]]] = {}
    for name, image in references.files.items():
        listed.setdefault(PurePosixPath(name).name, []).append((name, image))
    predictions: dict[Hashable, str] = {}
    for entry in load_json_lines("--predictions", str(path)):
        file = entry.get("path", str, why="every prediction needs the path of its image")
        if "caption" not in entry and "error" in entry:  # its image could not be read
            continue
        caption = entry.get("caption", str, why="every prediction needs one; a classifier's has none")
        image = _image_of(file, listed, entry)
        if image in predictions:
            raise DataError(f"{entry.where}: image {image!r} was predicted before; keep one caption of it")
        predictions[image] = caption
    return predictions


def _image_of(file: str, listed: dict[str, list[tuple[str, Hashable]]], entry: Entry) -> Hashable:
    """The id of the one listed file that a path names."""
    path = PurePosixPath(file.replace("\\", "/"))
    found = listed.get(path.name, [])
    if not found:
        raise DataError(
            f"{entry.place('path')}: {file}: is no file of the references; {did_you_mean(path.name, listed)}"
        )
    if len(found) > 1:  # the same name in several directories
        found = [each for each in found if f"/{path}".endswith(f"/{each[0]}")]
    if len(found) != 1:
        raise DataError(
            f"{entry.place('path')}: {file}: may be several files of the references; give ids, as COCO has them"
        )
    return found[0][1]


def _coco(file: Entry) -> References:
    captions: dict[Hashable, list[str]] = {}
    files: dict[str, Hashable] = {}
    for entry in file.entries("images", "the file needs a list of images"):
        image = entry.get("id", int, str, why="every image needs one")
        if image in captions:
            raise DataError(f"{entry.place('id')}: image {image!r} is listed before; remove one of them")
        captions[image] = []
        if "file_name" in entry:
            files[entry.get("file_name", str, why="")] = image
    for entry in file.entries("annotations", "the file needs a list of captions"):
        image = entry.get("image_id", int, str, why="every caption needs the id of its image")
        if image not in captions:
            raise DataError(f"{entry.place('image_id')}: the file has no image {image!r}; {_advice(image, captions)}")
        captions[image].append(entry.get("caption", str, why="every annotation needs one"))
    for image, texts in captions.items():
        if not texts:
            raise DataError(f"{file.where}: image {image!r} has no caption; add one, or remove the image")
    return References(captions, None, files)


def _karpathy(file: Entry, split: str) -> References:
    captions: dict[Hashable, list[str]] = {}
    training: list[str] = []
    files: dict[str, Hashable] = {}
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
            if "filename" in entry:
                directory = entry.get("filepath", str, why="") if "filepath" in entry else ""
                files[str(PurePosixPath(directory, entry.get("filename", str, why="")))] = image
    if not captions:
        raise ConfigError(f"--split: {file.where} has no images of '{split}'; {did_you_mean(split, splits)}")
    return References(captions, training or None, files)
