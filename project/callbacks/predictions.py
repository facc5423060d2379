"""`predictions.jsonl` and `index.html`: what `predict` leaves behind."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from project.analysis.gallery import Tile, write_gallery
from project.runs.directory import RunDirectory

PREDICTIONS = "predictions.jsonl"


class WritePredictions(Callback):
    """Writes one JSON object an input file, in input order, and a gallery of them.

    Each process writes its share to a file of its own as it goes; the first merges them at the end, so what is in
    memory does not grow with the number of images.

    Args:
        run: the run's directory.
        inputs: the image files, in the order of the loader's indices.
    """

    def __init__(self, run: RunDirectory, inputs: list[Path]) -> None:
        self.run = run
        self.inputs = inputs

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Opens this process's share."""
        self._share = open(self._share_path(trainer.global_rank), "w")  # noqa: SIM115  closed by a later hook

    def on_predict_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Adds a batch: the task's `prediction` makes the object of each image."""
        indices, *answers = outputs
        for index, *answer in zip(indices.tolist(), *(part.cpu() for part in answers), strict=True):
            row = {"path": str(self.inputs[index])} | pl_module.prediction(*answer)
            self._share.write(json.dumps(row) + "\n")

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Merges the shares and draws the gallery."""
        self._share.close()
        trainer.strategy.barrier("predictions")
        if not trainer.is_global_zero:
            return
        target = self.run.path / PREDICTIONS
        temporary = target.with_name(f".{PREDICTIONS}.tmp")
        shares = [self._share_path(rank) for rank in range(trainer.world_size)]
        with open(temporary, "w") as merged:
            merged.writelines(_interleave(shares))
        os.replace(temporary, target)
        self._remove_shares(shares)
        heading = f"{len(self.inputs)} predictions"
        write_gallery(self.run.path / "index.html", _tiles(target), heading, f"{self.run.path}")

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Leaves nothing half-written."""
        if hasattr(self, "_share"):
            self._share.close()
            self._remove_shares([self._share_path(trainer.global_rank)])

    def _share_path(self, rank: int) -> Path:
        return self.run.path / f".{PREDICTIONS}.{rank}"

    @staticmethod
    def _remove_shares(shares: list[Path]) -> None:
        for share in shares:
            share.unlink(missing_ok=True)


def _interleave(shares: list[Path]) -> Iterator[str]:
    """Rows in input order: process r of n had the inputs r, r + n, r + 2 n, ..."""
    with ExitStack() as stack:
        files = [stack.enter_context(open(share)) for share in shares]
        for turn in iter(lambda: [file.readline() for file in files], [""] * len(files)):
            yield from turn


def _tiles(predictions: Path) -> Iterator[Tile]:
    with open(predictions) as file:
        for line in file:
            row = json.loads(line)
            yield Tile(Path(row["path"]).resolve(), row["label"], row["probability"], row["top5"])
