"""Captions in the JSON that Karpathy and Fei-Fei published for COCO, Flickr8k and Flickr30k."""

from __future__ import annotations

import os
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from project.data.captions.annotations import Entry, check_distinct, read_json
from project.data.captions.base import CaptionDataModule
from project.data.captions.samples import CaptionedSamples
from project.data.paths import inside
from project.data.samples import Split
from project.errors import DataError, did_you_mean

_SPLITS: dict[str, Split] = {"train": "train", "restval": "train", "val": "val", "test": "test"}


class KarpathyCaptions(CaptionDataModule):
    """The splits of Karpathy and Fei-Fei 2015 (arXiv:1412.2306), or anyone's file like theirs.

    Theirs are `dataset_coco.json`, `dataset_flickr8k.json` and `dataset_flickr30k.json`. `images` is a list of objects with `filename` (below `filepath` where there is one), `split` (`train`, `restval`,
    `val` or `test`) and `sentences`, a list of objects with `raw`, the text, `tokens`, its words, or both. `restval`
    joins `train`. A set without `val` has it held out of `train`.

    Targets are the `tokens` where there are any. References are `raw`, tokenized by PTB as coco-caption does, and with
    `tokenizer: given` the `tokens`, too; that is the default where PTB does not find most of the tokens in `raw`, as in
    Chinese.

    Args:
        annotations: the JSON file.
        images: the folder that `filepath/filename` lies in.
        **options: those of `CaptionDataModule`.
    """

    def __init__(self, annotations: str, images: str, **options: Any) -> None:
        super().__init__(**options)
        self.annotations = annotations
        self.images = Path(os.path.expanduser(images))

    def load_splits(self) -> dict[Split, CaptionedSamples]:
        """Those of the file."""
        file = read_json("data.annotations", self.annotations)
        entries: defaultdict[Split, list[Entry]] = defaultdict(list)
        for entry in file.entries("images", "the file needs a list of images"):
            entries[_split(entry)].append(entry)
        if "train" not in entries:
            raise DataError(f"{file.place('images')}: none is of the split 'train'; without one there is no training")
        paths = {split: [self._path(entry) for entry in part] for split, part in entries.items()}
        listed = [path for part in paths.values() for path in part]
        check_distinct(listed, [f"{entry.where}.filename" for part in entries.values() for entry in part])
        of = [split for split, part in paths.items() for _ in part]
        present = set(self._present(listed, self.images, "data.images", of).tolist())
        splits: dict[Split, CaptionedSamples] = {}
        first = 0
        for split, part in entries.items():
            there = np.array([index for index in range(len(part)) if first + index in present])
            splits[split] = _samples(paths[split], part, split, self.images).take(there, split)
            first += len(part)
        return splits

    def _path(self, entry: Entry) -> Path:
        name = entry.get("filename", str, why="every image needs the name of its file")
        folder = entry.get("filepath", str, why="") if "filepath" in entry else ""
        return inside(self.images, f"{folder}/{name}" if folder else name, entry.place("filename"))


def _split(entry: Entry) -> Split:
    name = entry.get("split", str, why=f"every image needs one of {', '.join(_SPLITS)}")
    if name not in _SPLITS:
        raise DataError(f"{entry.place('split')}: there is no split '{name}'; {did_you_mean(name, _SPLITS)}")
    return _SPLITS[name]


def _samples(paths: list[Path], entries: list[Entry], split: Split, root: Path) -> CaptionedSamples:
    captions: list[list[str]] = []
    tokens: list[list[list[str] | None]] = []
    for entry in entries:
        said = [said_in(sentence) for sentence in entry.entries("sentences", "every image needs a list of them")]
        captions.append([text for text, _ in said])
        tokens.append([words for _, words in said])
    ids = _ids(entries)
    if all(words is None for image in tokens for words in image):
        return CaptionedSamples.of(paths, captions, split, root=root, ids=ids)
    return CaptionedSamples.of(paths, captions, split, tokens, root, ids)


def _ids(entries: list[Entry]) -> list[int | str] | None:
    """COCO's numbers where every image has one, else the file's own; None where these are missing or not distinct."""
    for name in ("cocoid", "imgid"):
        if all(name in entry for entry in entries):
            ids = [entry.get(name, int, str, why="") for entry in entries]
            if len(set(ids)) == len(ids):
                return ids
    return None


def said_in(entry: Entry) -> tuple[str, list[str] | None]:
    """A sentence's text, and its words where the file says them."""
    words = entry.texts("tokens") if "tokens" in entry else None
    if "raw" in entry or words is None:
        return entry.get("raw", str, why="every sentence needs 'raw', its text, or 'tokens', its words"), words
    return " ".join(words), words
