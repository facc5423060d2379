"""Captions in COCO's own JSON."""

from __future__ import annotations

import os
from collections.abc import Container
from pathlib import Path
from typing import Any

from project.data.captions.annotations import Entry, check_distinct, read_json
from project.data.captions.base import CaptionDataModule
from project.data.captions.samples import CaptionedSamples
from project.data.paths import inside
from project.data.samples import Split
from project.errors import ConfigError, DataError


class COCOCaptions(CaptionDataModule):
    """Captions as COCO has them (Chen et al. 2015, arXiv:1504.00325): `captions_train2017.json` with `train2017/`.

    `images` is a list of objects with `id` and `file_name`, `annotations` one of objects with `image_id` and `caption`.
    Without a file for validation it is held out of the training data; without one for testing, `test` says so and uses
    validation.

    Args:
        annotations: the training captions.
        images: the folder of their images.
        val_annotations: the captions for validation.
        val_images: the folder of their images; by default `images`.
        test_annotations: the captions for testing.
        test_images: the folder of their images; by default `images`.
        **options: those of `CaptionDataModule`.
    """

    def __init__(
        self,
        annotations: str,
        images: str,
        val_annotations: str | None = None,
        val_images: str | None = None,
        test_annotations: str | None = None,
        test_images: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.files: dict[Split, tuple[str, str, str]] = {"train": ("", annotations, images)}
        others: list[tuple[Split, str | None, str | None]] = [
            ("val", val_annotations, val_images),
            ("test", test_annotations, test_images),
        ]
        for split, file, folder in others:
            if file is not None:
                self.files[split] = (f"{split}_", file, folder or images)
            elif folder is not None:
                raise ConfigError(f"data.{split}_images: is of no use without data.{split}_annotations; give both")

    def load_splits(self) -> dict[Split, CaptionedSamples]:
        """One of each file.

        Raises:
            DataError: an image is in two of them, and would be trained on and tested.
        """
        splits = {split: self._read(split, *file) for split, file in self.files.items()}
        first: dict[Any, Split] = {}
        for split, samples in splits.items():
            for path in samples.images:
                if first.setdefault(path, split) != split:
                    raise DataError(f"data.{split}_annotations: {path} is among those of {first[path]}, too; list each image "
                                    "in one file")  # fmt: skip
        return splits

    def _read(self, split: Split, prefix: str, annotations: str, images: str) -> CaptionedSamples:
        folder = Path(os.path.expanduser(images))
        paths, captions, ids = _listed(prefix, annotations, folder)
        present = self._present(paths, folder, f"data.{prefix}images", [split] * len(paths))
        return CaptionedSamples.of(paths, captions, split, root=folder, ids=ids).take(present, split)


def _listed(prefix: str, annotations: str, folder: Path) -> tuple[list[Path], list[list[str]], list[int | str]]:
    """The image files of one annotation file, the captions and the id of each."""
    file = read_json(f"data.{prefix}annotations", annotations)
    entries = list(file.entries("images", "the file needs a list of images"))
    places: dict[int | str, int] = {}
    for place, entry in enumerate(entries):
        number = entry.get("id", int, str, why="every image needs one")
        if number in places:
            raise DataError(f"{entry.place('id')}: {number!r} is that of images[{places[number]}] too; "
                            "every image needs its own")  # fmt: skip
        places[number] = place
    captions: list[list[str]] = [[] for _ in entries]
    for said in file.entries("annotations", "the file needs a list of captions; instances and keypoints have none"):
        number = said.get("image_id", int, str, why="every caption needs the id of its image")
        if number not in places:
            raise DataError(f"{said.place('image_id')}: the file has no image {number!r}; "
                            f"{_other_type(number, places) or 'remove the caption, or add the image'}")  # fmt: skip
        captions[places[number]].append(said.get("caption", str, why="every annotation needs one"))
    paths = [_path(folder, entry) for entry in entries]
    for entry, texts in zip(entries, captions, strict=True):
        if not texts:
            name = entry.get("file_name", str, why="")
            raise DataError(f"{entry.where}: {name} has no captions; every image needs one or more")
    check_distinct(paths, [entry.place("file_name") for entry in entries])
    return paths, captions, list(places)


def _other_type(number: int | str, known: Container[int | str]) -> str | None:
    """The end of a message about an id that is known as a number and given as text, or the other way round."""
    other = str(number) if isinstance(number, int) else int(number) if number.isdecimal() else None
    if other not in known:
        return None
    kinds = ("a whole number", "text") if isinstance(number, int) else ("text", "a whole number")
    return f"this id is {kinds[0]}, and that of the image is {kinds[1]}, {other!r}; write both alike"


def _path(folder: Path, entry: Entry) -> Path:
    name = entry.get("file_name", str, why="every image needs the name of its file")
    return inside(folder, name, entry.place("file_name"))
