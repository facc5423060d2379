"""Predictions of `predict`: `predictions.jsonl`, a row per file, and `index.html`, a gallery."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.exceptions import SIGTERMException

from project.analysis.gallery import Tile, Word, write_gallery
from project.errors import DataError, RunError
from project.files import atomic_write, remove_abandoned
from project.runs.directory import RunDirectory
from project.runs.records import free_path
from project.runs.undeclared import data_of
from project.yaml_files import dump_json

PREDICTIONS = "predictions.jsonl"


class WritePredictions(Callback):
    """Writes one JSON object an input file, in input order, and a gallery of them.

    Each process writes its share to a file of its own as it goes; the first merges them at the end, so what is in
    memory does not grow with the number of images. What a prediction has under a name that begins with "_" is for the
    gallery alone. A file that could not be read has a row with its `error`, and no tile.

    Args:
        run: the directory to write to, which is made if need be; processes but the first learn of it from `RunRecord`.
        inputs: the image files, in the order of the loader's indices.
    """

    def __init__(self, run: RunDirectory | None, inputs: list[Path]) -> None:
        self.run = run
        self.inputs = inputs
        self.unreadable: list[str] = []
        """In the first process, at the end: what is wrong with each file that could not be read."""

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Opens this process's share, which no other command writes to."""
        if trainer.is_global_zero:
            self._path.mkdir(exist_ok=True)
        remove_abandoned(self._path, f".{PREDICTIONS}.*.tmp")
        self._written = -1
        self._command = trainer.strategy.broadcast(os.getpid())
        share = self._share_path(trainer.global_rank)
        share.unlink(missing_ok=True)  # a link that lies there already is not followed
        self._share = open(share, "x", encoding="utf-8")  # noqa: SIM115  closed by a later hook

    def on_predict_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int, *_: Any
    ) -> None:
        """Adds a batch, given as the inputs' indices and the answer to each; a signal ends it here."""
        indices, answers = outputs
        for index, answer in zip(indices.tolist(), answers, strict=True):
            self._write_unreadable(trainer, index)
            self._write(index, answer)
        if trainer.received_sigterm:  # Lightning looks at it in all loops but this one
            raise SIGTERMException

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Merges the shares and draws the gallery."""
        self._write_unreadable(trainer, len(self.inputs))
        self._share.close()
        trainer.strategy.barrier("predictions")
        if not trainer.is_global_zero:
            return
        shares = [self._share_path(rank) for rank in range(trainer.world_size)]
        if not self._path.is_dir():
            raise RunError(f"{self._path}: was removed or renamed during the predictions; give the command again")
        try:
            self.unreadable = [row["error"] for row in _rows(shares) if "error" in row]
            if self.inputs and len(self.unreadable) == len(self.inputs):
                raise DataError(f"data.predict: none of {len(self.inputs)} files can be read: {self.unreadable[0]}")
            _write_lines(self._path / PREDICTIONS, _public(_rows(shares)))
            heading = f"{len(self.inputs) - len(self.unreadable)} predictions"
            if self.unreadable:
                heading += f", {len(self.unreadable)} unreadable files"
            value_range = getattr(pl_module, "value_range", None)
            tiles = (replace(_tile(row), value_range=value_range) for row in _rows(shares) if "error" not in row)
            write_gallery(self._path / "index.html", tiles, heading, f"{self._path}")
        finally:
            self._remove_shares(shares)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Leaves nothing half-written."""
        if hasattr(self, "_share"):
            self._share.close()
            self._remove_shares([self._share_path(trainer.global_rank)])
            with suppress(OSError):  # it is not empty
                self._path.rmdir()

    def _write(self, index: int, answer: dict[str, Any]) -> None:
        self._share.write(json.dumps({"path": str(self.inputs[index])} | answer) + "\n")
        self._written = index

    def _write_unreadable(self, trainer: Trainer, before: int) -> None:
        """Writes a row for each file of this process that could not be read, from the latest row on to an index."""
        unreadable = getattr(data_of(trainer), "unreadable_inputs", {})
        for index in sorted(index for index in unreadable if self._written < index < before):
            self._write(index, {"error": unreadable[index]})

    @property
    def _path(self) -> Path:
        assert self.run is not None, "`RunRecord` sets it"
        return self.run.path

    def _share_path(self, rank: int) -> Path:
        return self._path / f".{PREDICTIONS}.{self._command}.{rank}.tmp"

    @staticmethod
    def _remove_shares(shares: list[Path]) -> None:
        for share in shares:
            share.unlink(missing_ok=True)


def make_output(path: Path) -> None:
    """Makes the directory that the user names for predictions.

    Raises:
        RunError: it cannot be made, or has predictions, which would be lost.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"output: {path}: cannot be made ({error.strerror}); give another directory") from None
    if os.path.lexists(path / PREDICTIONS):
        raise RunError(f"output: {path}: has predictions, which would be lost; give another directory")


def free_directory(run: RunDirectory | None) -> RunDirectory | None:
    """The directory for predictions: the run's; where that has some, the next `predictions_N` in it."""
    if run is None or not os.path.lexists(run.path / PREDICTIONS):
        return run
    return RunDirectory(free_path(run.path, "predictions_{}", start=1))


def _rows(shares: list[Path]) -> Iterator[dict[str, Any]]:
    """Rows in input order: process r of n had the inputs r, r + n, r + 2 n, ..."""
    with ExitStack() as stack:
        files = [stack.enter_context(open(share, encoding="utf-8")) for share in shares]
        for turn in iter(lambda: [file.readline() for file in files], [""] * len(files)):
            yield from (json.loads(line) for line in turn if line)


def _public(rows: Iterator[dict[str, Any]]) -> Iterator[str]:
    """Lines of JSON, without what is for the gallery alone."""
    for row in rows:
        yield dump_json({name: value for name, value in row.items() if not name.startswith("_")}) + "\n"


def _write_lines(path: Path, lines: Iterator[str]) -> None:
    """Writes a file whole or not at all."""
    with atomic_write(path) as file:
        file.writelines(line.encode() for line in lines)


def _tile(row: dict[str, Any]) -> Tile:
    image = Path(row["path"]).resolve()
    if "caption" in row:
        return _caption_tile(image, row)
    return Tile(image, row["label"], row["probability"], row["top5"])


def _caption_tile(image: Path, row: dict[str, Any]) -> Tile:
    attention = row.get("_attention")
    maps: list[np.ndarray | None] = [None] * len(row["words"])
    if attention is not None:
        shape = attention["height"], attention["width"]
        maps = [np.array(values, dtype=np.uint8).reshape(shape) for values in attention["maps"]]
    log_probabilities = [word["log_probability"] for word in row["words"]]
    return Tile(
        image,
        _shown(row),
        # a whole sentence's probability says how long it is; a word's, in the geometric mean, how sure the network was
        confidence=math.exp(sum(log_probabilities) / len(log_probabilities)) if log_probabilities else None,
        details=[(_shown(other), math.exp(other["log_probability"])) for other in row["alternatives"]],
        # a map more than there are words is that of the sentence's end
        words=[
            Word(word["word"], math.exp(word["log_probability"]), values)
            for word, values in zip(row["words"], maps, strict=False)
        ],
        crop=1.0 if attention is None else attention["crop"],
        cut_off=not row["finished"],
    )


def _shown(row: dict[str, Any]) -> str:
    caption = row["caption"] or "(no words)"
    return caption if row["finished"] else f"{caption} …"
