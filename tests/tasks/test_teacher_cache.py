"""Kept answers are what the teacher says of exactly the image that the student sees."""

from __future__ import annotations

import os
import shutil
import signal
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, Trainer

from project.data import ImageFolder
from project.data.augmentation import Augmentation
from project.data.cache import CachedRows
from project.losses.distillation import LossTerm, Outputs
from project.runs.checkpoints import read_checkpoint
from project.tasks import Distiller
from project.tasks.classifier import Classifier
from project.tasks.student import TeacherTime
from project.tasks.teacher import Teacher
from project.tasks.teacher_cache import TeacherCache, _evenly_many, _Pending


class Watch(Callback):
    """Counts the images that a teacher sees in training, and keeps each step's targets and each epoch's metrics.

    rounded: whether a live teacher's answers are rounded as kept ones are.
    asked: images. seen: images of all steps. targets: of each step, (B, W). epochs: what was recorded.
    """

    def __init__(self, rounded: bool) -> None:
        self.rounded = rounded

    def on_train_start(self, trainer, pl_module):
        self.asked = self.seen = 0
        self.targets: list[torch.Tensor] = []
        self.epochs: list[dict[str, float]] = []
        pl_module._teacher.members[0].network.head.register_forward_hook(self._count)
        ask = pl_module._ask
        pl_module._ask = lambda batch: self._keep(ask(batch))
        record = pl_module.record_costs
        pl_module.record_costs = lambda metrics: (self._note(pl_module.current_epoch, metrics), record(metrics))

    def _count(self, module, inputs, outputs):
        self.asked += len(outputs)

    def _keep(self, found):
        outputs, cached = found
        if self.rounded:
            outputs = Outputs(*(part.half().float() for part in outputs[:2]))
        self.targets.append(torch.cat(outputs[:2], 1))
        self.seen += len(outputs.logits)
        return outputs, cached

    def _note(self, epoch, metrics):
        self.epochs += [{} for _ in range(epoch + 1 - len(self.epochs))]
        self.epochs[epoch] |= metrics


@pytest.fixture
def distill(trained, trained_images, tmp_path):
    """Distils the trained classifier; returns what was watched and the student."""

    def fit(cache_dir: str = "kept", augment: Augmentation = Augmentation(crop=1, flip=True), **options):
        torch.manual_seed(0)
        watch = Watch(options.pop("rounded", False))
        about_data = {
            name: options.pop(name) for name in ("root", "storage", "image_size", "val_fraction") if name in options
        }
        defaults = {"root": str(trained_images), "image_size": 12, "batch_size": 16, "num_workers": 0}
        about_data = defaults | about_data
        data = ImageFolder(augment=augment, cache_dir=str(tmp_path / cache_dir), **about_data)
        about_trainer = {name: options.pop(name) for name in ("precision", "max_epochs") if name in options}
        about_trainer = {"precision": "32-true", "max_epochs": 3} | about_trainer
        options = {"teacher": str(trained), "backbone_options": {"width": 4}, "allowed_drop": 1.0} | options
        task = Distiller(data.class_names, about_data["image_size"], **options)
        Trainer(
            **about_trainer, accelerator="cpu", devices=1, logger=False, callbacks=[watch], default_root_dir=tmp_path,
            enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        ).fit(task, data)  # fmt: skip
        return watch, task

    return fit


def kept(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("teacher-*.cache"))


@pytest.mark.parametrize("storage", ["resident", "stream"])
@pytest.mark.parametrize("width", [3, 19], ids=["logits", "features too"])
def test_training_with_kept_answers_is_training_with_a_live_teacher(storage, width, distill):
    pooled = LossTerm("fitnets", weight=0.01, options={"student_stage": "features", "teacher_stage": "features"})
    losses = [LossTerm("kd")] + [pooled] * (width > 3)
    options = {"storage": storage, "losses": losses, "optimizer": partial(torch.optim.SGD, lr=0.003)}
    live, student = distill(cache=False, rounded=True, **options)
    first, one = distill(**options)
    second, other = distill(**options)
    for at, targets in enumerate(live.targets):
        # of the same images: at most a unit in the last place of float16, by the rounding of smaller batches
        torch.testing.assert_close(first.targets[at], targets[:, :width], rtol=2**-10, atol=1e-6)
        assert torch.equal(second.targets[at], first.targets[at])
    for name, value in student.network.state_dict().items():
        torch.testing.assert_close(one.network.state_dict()[name], value, rtol=0, atol=1e-3)
        assert torch.equal(other.network.state_dict()[name], one.network.state_dict()[name])
    assert live.asked == live.seen == first.seen == second.seen
    assert second.asked == 0 < first.asked < first.seen
    assert [epoch["train/cached"] for epoch in live.epochs] == [0, 0, 0]
    assert [epoch["train/cached"] for epoch in second.epochs] == [1, 1, 1]
    assert first.asked / first.seen == pytest.approx(1 - np.mean([e["train/cached"] for e in first.epochs]))


def test_the_share_of_its_time_is_recorded(distill):
    live, _ = distill(cache=False)
    distill()
    warm, _ = distill()
    assert all(0 < epoch["train/teacher_time"] < 1 for epoch in live.epochs + warm.epochs)


def test_only_the_rows_that_are_missing_are_asked_for(distill):
    distill(augment=Augmentation(), max_epochs=1)
    again, _ = distill(augment=Augmentation(), max_epochs=2)
    assert again.asked == 0
    # twice as many pictures, none of them known under this numbering
    first, _ = distill(augment=Augmentation(flip="alternate"), max_epochs=1)
    assert first.asked == first.seen
    third, task = distill(augment=Augmentation(flip="alternate"), max_epochs=3)
    assert third.asked == third.seen / 3
    assert [epoch["train/cached"] for epoch in third.epochs] == [1, 0, 1]
    # the two numberings of flips are one
    other, _ = distill(augment=Augmentation(flip=True), max_epochs=2)
    assert other.asked == 0
    assert task._cache.num_views == 2


def test_an_answer_does_not_depend_on_the_others_in_its_batch(trained):
    member = Classifier.load_from_checkpoint(trained / "checkpoints" / "best.ckpt")
    teacher = Teacher([member], member.class_names)
    images = torch.randint(256, (33, 3, 12, 12), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    whole = teacher(images)
    for rows in ([0], [5, 31], list(range(32))):
        some = teacher(images[rows])
        torch.testing.assert_close(some.logits, whole.logits[rows], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(some.features, whole.features[rows], rtol=1e-5, atol=1e-5)


def test_what_an_answer_follows_from_gives_a_file_of_its_own(distill, trained, trained_images, tmp_path):
    folder = tmp_path / "kept"
    distill(max_epochs=1)
    (first,) = kept(folder)
    distill(max_epochs=1, label_weight=0.5, losses=[LossTerm("dkd")])  # the student's affairs
    assert kept(folder) == [first]
    checkpoint = read_checkpoint(trained / "checkpoints" / "best.ckpt")

    def other_teacher(name: str, **changes: object) -> str:
        state = dict(checkpoint["state_dict"])
        if changes.pop("weights", False):
            state["network.head.bias"] = state["network.head.bias"] + 1e-3
        for key in ("mean", "std"):
            if key in changes and f"normalize.{key}" in state:
                state[f"normalize.{key}"] = torch.tensor(changes[key]).view_as(state[f"normalize.{key}"])
        path = tmp_path / f"{name}.ckpt"
        facts = checkpoint["hyper_parameters"] | changes
        torch.save(checkpoint | {"state_dict": state, "hyper_parameters": facts}, path)
        return str(path)

    swapped = list(checkpoint["hyper_parameters"]["class_names"])[::-1]
    others = [
        {"teacher": other_teacher("weights", weights=True)},
        {"teacher": other_teacher("mean", mean=[0.1, 0.2, 0.3])},
        {"teacher": other_teacher("std", std=[0.1, 0.2, 0.3])},
        {"teacher": other_teacher("classes", class_names=swapped)},
        {"teacher": other_teacher("size", image_size=16)},
        {"teacher": [str(trained)] * 2},
        {"augment": Augmentation(crop=1)},
        {"augment": Augmentation(shift=1, flip=True)},
        {"val_fraction": 0.4},
        {"image_size": 16},
        {"precision": "bf16-mixed"},
        {"losses": [LossTerm("rkd")]},
    ]
    for count, options in enumerate(others, 2):
        distill(max_epochs=1, **options)
        assert len(kept(folder)) == count, options
    # files that were changed since are other data, whatever their size and time
    copied = shutil.copytree(trained_images, tmp_path / "copied")
    distill(max_epochs=1, root=str(copied))
    for image in copied.rglob("*.png"):
        status = image.stat()
        image.write_bytes(image.read_bytes())
        os.utime(image, ns=(status.st_atime_ns, status.st_mtime_ns))
    distill(max_epochs=1, root=str(copied))
    assert len(kept(folder)) == count + 2


def test_a_teachers_own_precision_is_that_of_its_answers(distill, tmp_path):
    found = {}
    for where, options in {
        "teacher": {"teacher_precision": "bf16-mixed"},
        "both": {"precision": "bf16-mixed"},
        "none": {},
    }.items():
        watch, _ = distill(cache_dir=where, max_epochs=1, **options)
        found[where] = kept(tmp_path / where), torch.cat(watch.targets)
    assert found["teacher"][0] == found["both"][0] != found["none"][0]
    assert torch.equal(found["teacher"][1], found["both"][1])
    assert not torch.equal(found["teacher"][1], found["none"][1])
    _, student = distill(teacher="ema", max_epochs=1, teacher_precision="bf16-mixed")
    images = torch.randint(256, (2, 3, 12, 12), dtype=torch.uint8)
    assert student.teacher(images).logits.dtype is torch.bfloat16


REASONS = {
    "policy": ({"augment": Augmentation(crop=1, policy="trivial")}, "the pictures that data.augment.policy can make"),
    "mixed": ({"augment": Augmentation(mixup=0.2, cutmix=1.0)}, "data.augment.mixup and data.augment.cutmix can make"),
    "maps": ({"losses": [LossTerm("kd"), LossTerm("at")]}, "the losses look at its maps ("),
    "size": (
        {"cache_gib": 1e-6},
        "18 pictures of 48 samples, 8e-06 GiB when full, more than model.cache_gib (1e-06)",
    ),
}


@pytest.mark.parametrize("case", REASONS)
def test_where_answers_cannot_be_kept_one_line_says_why(case, distill, caplog, tmp_path):
    options, reason = REASONS[case]
    watch, _ = distill(max_epochs=2, **options)
    lines = [record.message for record in caplog.records if "teacher cache" in record.message]
    assert len(lines) == 1
    assert lines[0].startswith("teacher cache: off, the teacher is asked in every step: ")
    assert reason in lines[0]
    assert watch.asked == watch.seen
    assert kept(tmp_path / "kept") == []


def test_it_can_be_turned_off_without_a_word(distill, caplog, tmp_path):
    distill(max_epochs=1, cache=False)
    assert not any("teacher cache" in record.message for record in caplog.records)
    assert kept(tmp_path / "kept") == []


def test_a_folder_that_cannot_be_written_is_no_obstacle(distill, caplog, tmp_path):
    (tmp_path / "kept").write_text("a file")
    watch, _ = distill(max_epochs=1, storage="stream")
    (line,) = (record.message for record in caplog.records if "teacher cache" in record.message)
    assert "cannot be written" in line
    assert watch.asked == watch.seen


def test_a_full_disk_is_no_obstacle(distill, small_files_only, capsys):
    live, _ = distill(cache=False, max_epochs=2)
    distill(max_epochs=1)  # makes the file
    with small_files_only(4096 + 200):
        watch, _ = distill(augment=Augmentation(crop=1, flip=True), max_epochs=2)
    for ones, others in zip(watch.targets, live.targets, strict=True):
        # half a unit in the last place of float16, and the rounding of smaller batches
        torch.testing.assert_close(ones, others[:, :3], rtol=2**-11 + 1e-5, atol=1e-6)
    assert capsys.readouterr().out.count("the teacher's answers are not kept: ") == 1


def test_damaged_answers_are_noticed_and_asked_for_again(distill, tmp_path, capsys):
    first, _ = distill(max_epochs=2)
    (name,) = kept(tmp_path / "kept")
    path = tmp_path / "kept" / name
    content = bytearray(path.read_bytes())
    stride = 3 * 2 + 4
    for start in range(4096, len(content), stride):
        if any(content[start : start + stride]):
            content[start] ^= 1
    path.write_bytes(content)
    again, _ = distill(max_epochs=2)
    assert again.asked == first.asked > 0
    assert all(map(torch.equal, again.targets, first.targets))
    assert (
        capsys.readouterr().out == f"the teacher's answers: {path} is damaged; what is wrong there is computed again\n"
    )


class StopAt(Callback):
    """Sends this process a signal at a step."""

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_step == 4:
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize("keeps", ["the same cache", pytest.param("the cache was deleted", marks=pytest.mark.slow)])
def test_a_resumed_run_is_the_uninterrupted_one(keeps, run, fit_options, trained, trained_images, tmp_path):
    def fit(name: str, *more: object) -> int:
        arguments = fit_options(
            trained_images, tmp_path / name, "--model.teacher", trained, "--data.cache_dir", tmp_path / f"{name} cache",
            "--data.augment.crop", 1, "--data.augment.flip", "alternate", *more,
        )  # fmt: skip
        arguments[arguments.index("Classifier")] = "Distiller"
        return run(*arguments)

    def weights(name: str) -> dict[str, torch.Tensor]:
        return read_checkpoint(tmp_path / name / "r" / "version_0" / "checkpoints" / "last.ckpt")["state_dict"]

    assert fit("whole") == 0
    assert fit("cut", "--trainer.callbacks", f'[{{"class_path": "{__name__}.StopAt"}}]') == 143
    if keeps == "the cache was deleted":
        for path in (tmp_path / "cut cache").glob("teacher-*"):
            path.unlink()
    checkpoint = tmp_path / "cut" / "r" / "version_0" / "checkpoints" / "last.ckpt"
    assert fit("cut", "--ckpt_path", checkpoint, "--trainer.callbacks", "[]") == 0
    for name, value in weights("whole").items():
        assert torch.equal(weights("cut")[name], value), name


def test_a_share_is_of_what_was_measured_since_it_was_last_taken():
    clock = TeacherTime()
    assert clock.take() == 0
    clock.start_step()
    with clock.asking():
        time.sleep(0.02)
    time.sleep(0.02)
    clock.end_step()
    assert 0.2 < clock.take() < 0.8
    assert clock.take() == 0


class Copied:
    """A GPU's event."""

    ready = False

    def query(self) -> bool:
        return self.ready

    def synchronize(self) -> None:
        self.ready = True


def test_answers_on_their_way_from_a_gpu_are_written_when_they_have_come(tmp_path):
    rows = CachedRows(tmp_path / "x.cache", 4, (3,), np.float16, "answers", sparse=True)
    cache, events = TeacherCache(rows, 1, None, 3, False), [Copied(), Copied(), Copied()]
    for cell, event in enumerate(events):
        cache._pending.append(_Pending(np.array([cell]), torch.full((1, 3), cell, dtype=torch.float16), event))
    found = lambda: np.flatnonzero(rows.read(np.arange(4))[1]).tolist()  # noqa: E731
    cache._write_those_that_have_come()
    assert found() == []
    events[0].ready = events[2].ready = True
    cache._write_those_that_have_come()
    assert found() == [0]
    cache.flush()
    assert found() == [0, 1, 2]
    assert rows.read(np.array([2]))[0].tolist() == [[2, 2, 2]]


def test_a_gpu_is_asked_for_one_of_eight_numbers_of_rows():
    gpu = torch.device("cuda")
    for batch in (1, 7, 64, 100):
        counts = {len(_evenly_many(np.arange(count), batch, gpu)) for count in range(1, batch + 1)}
        assert len(counts) <= 9
        assert max(counts) == batch
    assert _evenly_many(np.array([5, 9, 60]), 64, gpu).tolist() == [5, 9, 60, 5, 9, 60, 5, 9]
    assert _evenly_many(np.array([5, 9, 60]), 64, torch.device("cpu")).tolist() == [5, 9, 60]
