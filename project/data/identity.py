"""Identity of a data set's samples: what a checkpoint was trained on and measured by, compared with the data of now.

A file's identity is a hash of its name without directories (the upper 31 of 63 bits) and of its size and three blocks of
its content (the lower 32). So a file keeps it where a data set is moved, or sorted into other directories; a renamed one
counts as another; and files of another data set differ where names and sizes happen to agree, as those of `0001.bmp` do.
Whole contents are not read, since an ImageNet's take minutes. The identity of an image in memory is a hash of its pixels.

A checkpoint keeps of each split the 65,536 smallest identities (a bottom-k sketch; Bar-Yossef et al. 2002): of a set up
to that size all, of a larger one a sample that is the same in every set. Contents are read of these alone.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.utilities.rank_zero import rank_zero_info
from torch import Tensor

from project.data.samples import Samples, Split
from project.data.store import num_cpus
from project.errors import DataError
from project.files import open_regular

if TYPE_CHECKING:
    from project.data.base import ImageDataModule

_MOST = 2**16  # identities of one split that are kept
_BLOCK = 2**14  # bytes at the beginning, in the middle and at the end of a file
_EVALUATED: tuple[Split, ...] = ("val", "test")
_EARLIER = "earlier"  # what was trained on before a run was resumed with other data
_MIXES = ("the split by fraction changes with the number of files and with its options; put the files into train, val and "
          "test directories (or a `split` column), undo the change, or start a new run")  # fmt: skip

Record = Mapping[str, "SplitRecord"]
"""Of a checkpoint, by split."""


@dataclass(frozen=True)
class SplitRecord:
    """What is kept of a split.

    samples: how many it has. fingerprint: of names, sizes and labels. ids: the smallest identities, ascending int64.
    """

    samples: int
    fingerprint: str
    ids: np.ndarray


def identities(samples: Samples) -> tuple[np.ndarray, np.ndarray]:
    """The smallest identities of a split, ascending (n,) int64, and the place of a sample with each, (n,) int64."""
    places = np.arange(len(samples))
    if isinstance(samples.images, np.ndarray):
        ids = np.array([_hash(image.tobytes(), 63) for image in samples.images], np.int64)
    else:
        paths = samples.images
        names = np.array([_hash(os.fsencode(os.path.basename(path)), 31) for path in paths], np.int64)
        if len(names) > _MOST:
            places = np.flatnonzero(names <= np.partition(names, _MOST - 1)[_MOST - 1])
        with ThreadPoolExecutor(num_cpus()) as pool:
            contents = list(pool.map(lambda place: _content(paths[place]), places))
        ids = names[places] << 32 | np.array(contents, np.int64)
    ids, first = np.unique(ids, return_index=True)
    return ids[:_MOST], places[first][:_MOST]


def _hash(content: bytes, bits: int) -> int:
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "big") >> 64 - bits


def _content(path: Path) -> int:
    try:
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            content = str(size).encode()
            for place in (0, size // 2, max(size - _BLOCK, 0)):
                file.seek(place)
                content += file.read(_BLOCK)
    except OSError:  # which decoding reports
        content = b""
    return _hash(content, 32)


def describe(data: ImageDataModule, before: Any) -> dict[str, dict[str, Any]]:
    """What a checkpoint keeps of the data that it is trained on, of plain types and tensors.

    Args:
        data: the data.
        before: what the checkpoint has that the run began with; what it trained on and these data lack is kept, too.
    """
    facts = data.fingerprint()
    record: dict[str, dict[str, Any]] = {
        split: {**facts[split], "sketch": torch.from_numpy(data.identities(split)[0])} for split in data.splits
    }
    trained, now = _trained_on(_read(before) or {}), data.identities("train")[0]
    if len(_missing(trained, now)):
        every = np.union1d(trained, now)[:_MOST]
        record[_EARLIER] = {"samples": len(every), "fingerprint": "", "sketch": torch.from_numpy(every)}
    return record


def _read(entry: Any) -> Record | None:
    """The record of a checkpoint, which may be anyone's; None where it is malformed."""
    if entry is None:  # of an older version
        return {}
    known = {"train", *_EVALUATED, _EARLIER}
    if isinstance(entry, dict) and entry.keys() <= known and all(map(_is_split, entry.values())):
        return {
            split: SplitRecord(kept["samples"], kept["fingerprint"], np.unique(kept["sketch"].cpu().numpy()))
            for split, kept in entry.items()
        }
    return None


def _is_split(kept: Any) -> bool:
    if not isinstance(kept, dict) or kept.keys() != {"samples", "fingerprint", "sketch"}:
        return False
    sketch = kept["sketch"]
    return (
        type(kept["samples"]) is int
        and 0 <= kept["samples"] < 2**63
        and isinstance(kept["fingerprint"], str)
        and isinstance(sketch, Tensor)
        and (sketch.layout, sketch.dtype, sketch.ndim) == (torch.strided, torch.int64, 1)
        and not sketch.is_meta
        and len(sketch) <= _MOST
    )


def compare(entry: Any, data: ImageDataModule, verb: str) -> str | None:
    """One line that says which splits are others than a checkpoint's, and how; None where all are the same.

    Args:
        entry: what a checkpoint has of its data, which is ignored where it is malformed.
        data: the data of now.
        verb: what they are for: fit, validate or test.

    Raises:
        DataError: a split to measure has samples that the checkpoint was trained on; or training would go on with some
            that it was measured by. Samples that two splits had in common from the beginning are not counted.
    """
    record = _read(entry)
    if record is None:
        return (
            "data: the checkpoint's record of its data is malformed and ignored; whether they are the same is unknown"
        )
    if not record:
        return None
    measured: Split = "test" if verb == "test" and "test" in data.splits else "val"
    used = list(data.splits) if verb == "fit" else [measured]
    trained = _trained_on(record)
    for split in used:
        if split != "train":
            _check(data, split, trained, _ids(record, split), "the train split")
    if verb == "fit":
        for split in _EVALUATED:
            _check(data, "train", _ids(record, split), trained, f"the {split} split")
    changes = {split: _change(data, split, record.get(split), split in used) for split in data.splits}
    changes |= {split: "is gone" for split in _EVALUATED if split in record and split not in data.splits}
    if set(changes.values()) == {_OTHER}:
        return "data: another data set than the one that the checkpoint was trained on"
    said = [f"the {split} split {change}" for split, change in changes.items() if change]
    return f"data: since the checkpoint was trained, {'; '.join(said)}" if said else None


def _check(data: ImageDataModule, split: Split, then: np.ndarray, known: np.ndarray, source: str) -> None:
    """Refuses a split that has samples of `then` which are not among those that it had already, `known`."""
    now, places = data.identities(split)
    moved = _missing(np.intersect1d(then, now), known)
    if len(moved):
        first = data.splits[split].name_of(int(places[np.searchsorted(now, moved[0])]))
        raise DataError(f"data: {_count(len(moved), now, then)} of the {len(data.splits[split]):,} images of the {split} split "
                        f"were in {source} when the checkpoint was trained, such as {first}; {_MIXES}")  # fmt: skip


_OTHER = "has none of its images"


def _change(data: ImageDataModule, split: Split, then: SplitRecord | None, used: bool) -> str | None:
    facts = data.fingerprint()[split]
    if then is None:
        return f"is new ({facts['samples']:,} images)"
    if not used and facts["fingerprint"] == then.fingerprint:  # no need to read contents
        return None
    now = data.identities(split)[0]
    new, gone = _missing(now, then.ids), _missing(then.ids, now)
    if not len(new) and not len(gone):
        same = facts["fingerprint"] == then.fingerprint
        return None if same else "has the same images with other labels, captions or directories"
    if len(gone) and not len(np.intersect1d(now, then.ids)):
        return _OTHER
    if np.array_equal(new >> 32, gone >> 32):
        return f"has other content in {_count(len(new), now, then.ids)} of its files"
    numbers = {"more": len(new), "fewer": len(gone)}
    said = " and ".join(f"{_count(number, now, then.ids)} {word}" for word, number in numbers.items() if number)
    noun = "image" if len(new) + len(gone) == 1 else "images"
    return f"has {said} {noun} ({facts['samples']:,} now, {then.samples:,} then)"


def _ids(record: Record, split: str) -> np.ndarray:
    return record[split].ids if split in record else np.array([], np.int64)


def _trained_on(record: Record) -> np.ndarray:
    return np.union1d(_ids(record, "train"), _ids(record, _EARLIER))[:_MOST]


def _missing(ids: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Those of `ids` that are not in `other`, as far as this one's go."""
    missing = np.setdiff1d(ids, other)
    return missing[missing <= other[-1]] if len(other) == _MOST else missing


def _count(number: int, *sketches: np.ndarray) -> str:
    """A number of identities; of sets that are larger than what is kept, at least so many."""
    return f"{'at least ' if _MOST in map(len, sketches) else ''}{number:,}"


def compare_on_first_process(trainer: Trainer, record: Any, data: Any) -> Any:
    """Compares the data with those of a checkpoint, if any, and returns the record for the next one.

    The first process does, for all of them: they read the same files, and must come to the same end.

    Args:
        trainer: its command determines what is compared.
        record: of the checkpoint's data.
        data: the datamodule.

    Raises:
        DataError: they mix what was trained on with what is measured.
    """
    verb, error = str(trainer.state.fn.value if trainer.state.fn else ""), ""
    if trainer.is_global_zero:
        try:
            is_new = verb == "fit" and trainer.ckpt_path is None
            if not is_new and (line := compare(record, data, verb)):
                rank_zero_info(line)
            if verb == "fit":
                record = describe(data, record)
        except DataError as mixed:
            error = str(mixed)
    if error := trainer.strategy.broadcast(error):
        raise DataError(error)
    return record
