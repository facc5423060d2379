"""A teacher's answers, each computed once for all epochs and runs.

An answer belongs to a sample and to one of the countable pictures that augmentation makes of it (`Batch.view`): it is
what the teacher says of exactly the image that the student sees.

Shapes: B images, K classes, D pooled features, M answers, W = K + D numbers in each; without features K.
"""

from __future__ import annotations

import json
from collections import deque
from hashlib import sha256
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from project.data.answers import AnswerFile, file_bytes
from project.data.base import ImageDataModule
from project.data.batch import Batch
from project.data.store import file_state
from project.losses.distillation import DistillationLosses, Outputs
from project.tasks.teacher import Teacher
from project.text import print_lines


class _Pending(NamedTuple):
    """Answers on their way from a GPU: (M,) int64, (M, W) float16 on the host, and what says that they have come."""

    cells: np.ndarray
    answers: Tensor
    copied: torch.cuda.Event


class TeacherCache:
    """Answers for a teacher where it has been asked before, and otherwise asks it and keeps what it says.

    An answer is the same, rounded to float16, whether it was just given or found. Which rows of a batch are missing is
    decided on the host, and answers come from a GPU some steps after they were asked for: the device never waits.

    Args:
        file: where the answers are kept.
        teacher: who gives them.
        num_classes: K; the other W - K numbers of an answer are pooled features.
    """

    def __init__(self, file: AnswerFile, teacher: Teacher, num_classes: int, with_features: bool) -> None:
        self.file = file
        self.teacher = teacher
        self.num_classes = num_classes
        self.with_features = with_features
        self.full: str | None = None
        """What the disk said when answers could no longer be kept."""
        self._pending: deque[_Pending] = deque()

    def __call__(self, batch: Batch) -> tuple[Outputs, int]:
        """What the teacher says of a batch whose views are counted, in float32, and how many of the rows were found."""
        assert batch.on_host is not None
        indices, views = batch.on_host
        cells = indices * self.file.num_views + views
        self._write_those_that_have_come()
        answers, found = self.file.find(cells)
        if num_found := int(found.sum()):
            kept = _to_device(answers, batch.images.device)
        if num_found < len(cells):
            missing = np.flatnonzero(~found)
            asked = _evenly_many(missing, len(cells), batch.images.device)
            fresh = self._ask(batch.images, asked if num_found else None)[: len(missing)]
            self._keep(cells[missing], fresh)
            kept = kept.index_copy_(0, _to_device(missing, fresh.device), fresh) if num_found else fresh
        kept = kept.float()
        return Outputs(kept[:, : self.num_classes], kept[:, self.num_classes :]), num_found

    def flush(self) -> None:
        """Waits for answers that are still on their way."""
        self._write_those_that_have_come(wait=True)

    def _ask(self, images: Tensor, rows: np.ndarray | None) -> Tensor:
        """Answers (M, W) float16 to some of the images, or to all."""
        if rows is not None:  # by way of their channels-last storage
            stored = images.permute(0, 2, 3, 1).index_select(0, _to_device(rows, images.device))
            images = stored.permute(0, 3, 1, 2)
        outputs = self.teacher(images)
        parts = [outputs.logits, outputs.features] if self.with_features else [outputs.logits]
        # what float16 cannot hold is kept at its largest
        return torch.cat([part.float().clamp(-65504, 65504) for part in parts], 1).half()

    def _keep(self, cells: np.ndarray, answers: Tensor) -> None:
        if answers.device.type != "cuda":
            self._write(cells, answers.cpu())
            return
        on_host = torch.empty(answers.shape, dtype=torch.float16, pin_memory=True)
        on_host.copy_(answers, non_blocking=True)
        copied = torch.cuda.Event()
        copied.record()
        self._pending.append(_Pending(cells, on_host, copied))

    def _write_those_that_have_come(self, wait: bool = False) -> None:
        while self._pending and (wait or self._pending[0].copied.query()):
            cells, answers, copied = self._pending.popleft()
            copied.synchronize()
            self._write(cells, answers)

    def _write(self, cells: np.ndarray, answers: Tensor) -> None:
        if self.full is None:
            try:
                self.file.add(cells, answers.numpy())
            except OSError as error:
                self.full = error.strerror or str(error)
                print_lines(f"teacher cache: no more answers are kept ({self.full})")


def _to_device(values: np.ndarray, device: torch.device) -> Tensor:
    tensor = torch.from_numpy(values)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def _evenly_many(rows: np.ndarray, size: int, device: torch.device) -> np.ndarray:
    """On a GPU the number of rows is brought to a multiple of an eighth of a batch by repeating some.

    Compilers and cuDNN's search for the best algorithm begin anew with each number.
    """
    if device.type == "cpu":
        return rows
    step = max(size // 8, 1)
    return np.resize(rows, min(-(-len(rows) // step) * step, size))


def open_cache(
    teacher: Teacher,
    class_names: list[str],
    losses: DistillationLosses,
    data: ImageDataModule | None,
    precision: str,
    gib: float,
) -> tuple[TeacherCache | None, str]:
    """A cache below `data.cache_dir`, and one line that says what it holds or why there is none.

    The file's name is a hash of all that an answer follows from: the teacher's weights and preprocessing, the training
    images with their order and size, the numbering of the views, the classes and the arithmetic.

    Args:
        teacher: whose answers are kept.
        class_names: the student's K classes.
        losses: they say what of the teacher is looked at.
        data: the training data; nothing where they are no `ImageDataModule`.
        precision: of the trainer.
        gib: the largest size in GiB.
    """
    off = "teacher cache: off, the teacher is asked in every step: "
    if not isinstance(data, ImageDataModule):
        return None, f"{off}there is no data module of this project"
    if data.augment.endless:
        names = " and ".join(f"data.augment.{name}" for name in data.augment.endless)
        return None, f"{off}the pictures that {names} can make are too many to count"
    if losses.needs_stages.teacher:
        return None, f"{off}the losses look at its maps ({', '.join(losses.needs_stages.teacher)})"
    samples, views = data.splits["train"], data.augment.num_views
    assert views is not None, "they can be counted"
    width = len(class_names) + (teacher.shapes.num_features if losses.needs_features else 0)
    size = file_bytes(len(samples), views, width) / 2**30
    what = f"{views} pictures of {len(samples)} samples, {size:.2g} GiB when full"
    if size > gib:
        return None, f"{off}{what}, more than model.cache_gib ({gib:g})"
    key = _key(teacher, class_names, data, precision, width)
    path = data.cache_dir / f"teacher-{key[:32]}.answers"
    try:
        file = AnswerFile(path, key, len(samples), views, width)
    except OSError as error:
        return None, f"{off}{path.parent} cannot be written ({error.strerror or error})"
    return TeacherCache(file, teacher, len(class_names), losses.needs_features), f"teacher cache: {what}, in {path}"


def _key(teacher: Teacher, class_names: list[str], data: ImageDataModule, precision: str, width: int) -> str:
    names = ("class_names", "image_size", "mean", "std", "backbone", "backbone_options")
    samples, augment = data.splits["train"], data.augment
    facts: list[Any] = [
        teacher.fingerprint(),
        [[member.hparams[name] for name in names] for member in teacher.members],
        class_names,
        samples.fingerprint(),
        data.train_size,
        [augment.crop, augment.shift, augment.flip is not False],
        precision,
        width,
    ]
    digest = sha256(json.dumps(facts).encode())
    if not samples.in_memory:  # a file that was changed has other pixels
        for path in samples.images:
            digest.update(repr(file_state(path)).encode())
    return digest.hexdigest()
