"""The datamodule as Lightning drives it: what training, validation, test and prediction see."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from PIL import Image

from project.data import Batch, Digits, ImageDataModule, ImageFolder
from project.data.augmentation import Augmentation
from project.data.images import load_square
from project.data.samples import Samples
from project.errors import ConfigError, DataError

SIZE = 8
AUGMENTATION = Augmentation(crop=1, shift=1, flip=True)
BOTH = pytest.mark.parametrize("storage", ["resident", "stream"])


class Recorder(LightningModule):
    """Trains nothing and keeps every batch, by stage and epoch."""

    image_size = SIZE
    center_crop = 1.0

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.seen: dict[tuple[str, int], list[Batch]] = {}

    def _keep(self, stage: str, batch: Batch) -> None:
        self.seen.setdefault((stage, self.current_epoch), []).append(batch)

    def training_step(self, batch: Batch, batch_idx: int) -> torch.Tensor:
        self._keep("train", batch)
        return self.weight.sum()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self._keep("val", batch)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        self._keep("test", batch)

    def predict_step(self, batch: Batch, batch_idx: int) -> torch.Tensor:
        self._keep("predict", batch)
        return batch.indices

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def drive(data: ImageDataModule, verb: str = "fit", **options) -> dict[tuple[str, int], list[Batch]]:
    defaults = {"max_epochs": 1, "num_sanity_val_steps": 0, "enable_model_summary": False}
    trainer = Trainer(
        accelerator="cpu", devices=1, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        **defaults | options,
    )  # fmt: skip
    recorder = Recorder()
    getattr(trainer, verb)(recorder, datamodule=data)
    return recorder.seen


@pytest.fixture
def make(images):
    """A datamodule of 60 images in three classes: 48 to train on, 6 each for validation and test."""

    def build(**options) -> ImageFolder:
        defaults = {"image_size": SIZE, "batch_size": 20, "eval_batch_size": 4, "augment": AUGMENTATION}
        return ImageFolder(**{"root": str(images), "num_workers": 0, **defaults, **options})

    return build


def indices(batches: list[Batch]) -> list[int]:
    return torch.cat([batch.indices for batch in batches]).tolist()


def assert_squares_of(batches: list[Batch], samples: Samples) -> None:
    """Each image is what its index says, as the file has it."""
    for batch in batches:
        for image, label, index in zip(batch.images, batch.labels, batch.indices, strict=True):
            np.testing.assert_array_equal(image.permute(1, 2, 0), load_square(samples.images[index], SIZE))
            assert label == samples.labels[index]


@BOTH
def test_a_fit_trains_on_each_sample_once_an_epoch_and_validates_on_each_in_order(storage, make):
    data = make(storage=storage)
    seen = drive(data, max_epochs=3)
    assert [sorted(indices(seen["train", epoch])) for epoch in range(3)] == [list(range(48))] * 3
    assert len({tuple(indices(seen["train", epoch])) for epoch in range(3)}) == 3, "an order came twice"
    assert [len(batch.labels) for batch in seen["train", 0]] == [16] * 3
    assert len(seen["train", 0]) == len(data.training_order())
    for epoch in range(3):
        assert indices(seen["val", epoch]) == list(range(6))
        assert [len(batch.labels) for batch in seen["val", epoch]] == [4, 2]
        assert_squares_of(seen["val", epoch], data.splits["val"])


def test_both_storages_train_on_the_same_augmented_batches(make):
    resident, stream = (drive(make(storage=storage), max_epochs=2) for storage in ("resident", "stream"))
    for epoch in range(2):
        for one, other in zip(resident["train", epoch], stream["train", epoch], strict=True):
            assert all(torch.equal(a, b) for a, b in zip(one[:3], other[:3], strict=True))
    plain = drive(make(augment=Augmentation()))["train", 0]
    assert not torch.equal(plain[0].images, resident["train", 0][0].images)


@BOTH
def test_another_seed_is_another_order_and_the_same_split(storage, make):
    one, other = make(storage=storage), make(storage=storage, seed=1)
    assert indices(drive(one)["train", 0]) != indices(drive(other)["train", 0])
    assert one.fingerprint() == other.fingerprint()
    assert one.fingerprint()["val"] != make(split_seed=1).fingerprint()["val"]


@BOTH
def test_the_test_split_is_its_own_and_not_augmented(storage, make):
    data = make(storage=storage)
    seen = drive(data, "test")["test", 0]
    assert indices(seen) == list(range(6))
    assert_squares_of(seen, data.splits["test"])


def test_without_a_test_split_test_uses_validation(images, image_tree, tmp_path, make):
    image_tree(tmp_path / "split" / "train")
    data = make(root=str(tmp_path / "split"))
    seen = drive(data, "test")["test", 0]
    assert_squares_of(seen, data.splits["val"])
    assert indices(seen) == list(range(6))


@pytest.mark.parametrize(("verb", "splits"), [("fit", ["train", "val"]), ("validate", ["val"]), ("test", ["test"])])
def test_only_the_splits_in_use_are_decoded(verb, splits, make, tmp_path):
    data = make(cache_dir=str(tmp_path / "decoded"))
    drive(data, verb)
    headers = [json.loads(file.read_bytes()[:4096]) for file in (tmp_path / "decoded").iterdir()]
    shapes = sorted(header["shape"] for header in headers)
    assert shapes == sorted([len(data.splits[split]), SIZE, SIZE, 3] for split in splits)


@BOTH
def test_overfitting_repeats_the_same_samples_of_all_classes_as_they_are(storage, make):
    data = make(storage=storage)
    seen = drive(data, max_epochs=2, overfit_batches=2)
    labels, taken = data.splits["train"].labels, indices(seen["train", 0])
    assert indices(seen["train", 1]) == taken
    assert len(set(taken)) == len(taken) == 40
    counts = np.bincount(labels[taken], minlength=len(data.class_names))
    assert np.ptp(np.minimum(counts, np.bincount(labels))) <= 1
    for epoch in range(2):
        assert_squares_of(seen["train", epoch], data.splits["train"])


@BOTH
@pytest.mark.parametrize(("split", "count", "size"), [("train", 48, 20), ("val", 6, 4)])
def test_a_split_can_be_had_as_it_is_in_the_middle_of_a_run(storage, split, count, size, make):
    """In order and not augmented."""
    data, found = make(storage=storage, eval_batch_size=size), []

    class Ask(Callback):
        def on_train_start(self, trainer, pl_module):
            found.extend(data.batches_in_order(split))

    alone = drive(make(storage=storage, eval_batch_size=size))
    asked = drive(data, callbacks=[Ask()])
    assert indices(found) == list(range(count))
    assert [len(batch.labels) for batch in found[:-1]] == [size] * (len(found) - 1)
    assert all(batch.images.dtype == torch.uint8 for batch in found)
    assert_squares_of(found, data.splits[split])
    # and the run goes on as if nobody had asked
    assert [batch.images.tolist() for batch in asked["train", 0]] == [b.images.tolist() for b in alone["train", 0]]


@BOTH
@pytest.mark.parametrize(("at_most", "every"), [(48, 1), (47, 2), (16, 3), (1, 48), (1000, 1)])
def test_a_part_of_a_split_is_spread_over_it(storage, at_most, every, make):
    data = make(storage=storage, eval_batch_size=5)
    drive(data)
    found = list(data.batches_in_order("train", torch.device("cpu"), at_most))
    assert indices(found) == list(range(0, 48, every))
    assert len(indices(found)) <= at_most


def spoil(data: ImageDataModule, split: str) -> str:
    path = data.splits[split].images[3]
    os.truncate(path, 60)
    return str(path)


@BOTH
def test_a_skipped_file_leaves_every_other_sample_under_its_own_index(storage, make):
    data = make(storage=storage, on_bad_image="skip", augment=Augmentation())
    spoil(data, "train")
    seen = drive(data)["train", 0]
    assert len(seen) == len(data.training_order())
    assert sorted(indices(seen)) == [i for i in range(48) if i != 3]
    assert_squares_of(seen, data.splits["train"])


def test_skipped_files_are_still_listed_after_the_run_and_alike_by_both_storages(make):
    resident, stream = (make(storage=storage, on_bad_image="skip") for storage in ("resident", "stream"))
    bad = spoil(resident, "train")
    drive(resident)
    drive(stream)
    (line,) = resident.skipped_images
    assert f"{bad}: cannot be read" in line
    assert stream.skipped_images == [line]


@BOTH
@pytest.mark.parametrize(("split", "option"), [("train", "raise"), ("val", "skip")])
def test_elsewhere_a_bad_file_is_an_error_that_names_split_and_path(split, option, storage, make):
    data = make(storage=storage, on_bad_image=option)
    bad = spoil(data, split)
    with pytest.raises(DataError) as caught:
        drive(data)
    assert str(caught.value).startswith(f"{split} split: {bad}: cannot be read")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("count", [3, 70])  # above 64 files worker processes decode
def test_prediction_sees_the_files_in_order_at_the_size_of_the_network(count, image_tree, tmp_path):
    folder = image_tree(tmp_path / "photos", count, 13, ("only",))
    seen = drive(ImageDataModule(predict=str(folder), image_size=99, num_workers=1), "predict")["predict", 0]
    paths = sorted((folder / "only").iterdir())
    assert indices(seen) == list(range(count))
    assert_squares_of(seen, Samples(paths, np.zeros(count, np.int64), "predict"))


@pytest.mark.parametrize("dataloader", ["train_dataloader", "val_dataloader"])
def test_fewer_images_than_processes_are_an_error(dataloader, make):
    data = make(val_fraction=0.01, test_fraction=0.9)
    data.trainer = Trainer(accelerator="cpu", devices=7, strategy="ddp", logger=False, enable_checkpointing=False)
    assert len(data.splits["train"]) == len(data.splits["val"]) == 3
    with pytest.raises(DataError, match=r"3 .*images .* 7 processes; use fewer devices$"):
        getattr(data, dataloader)()


@pytest.mark.parametrize(("sides", "size"), [((10, 10, 10), 32), ((40, 40, 300), 40), ((59, 61, 63), 64), ((500,), 96)])
def test_the_image_size_follows_the_median_shorter_side(sides, size, make, tmp_path):
    for name in "ab":
        (tmp_path / "sized/train" / name).mkdir(parents=True)
        for i, side in enumerate(sides * 2):
            Image.new("RGB", (side, side + 7)).save(tmp_path / "sized/train" / name / f"{i}.png")
    assert make(root=str(tmp_path / "sized"), image_size=None, val_fraction=0.01).image_size == size


def test_what_is_resident_follows_from_size_and_augmentation(make):
    bytes_decoded = 60 * SIZE * SIZE * 3
    assert make(resident_gib=bytes_decoded / 2**30).resident
    assert not make(resident_gib=(bytes_decoded - 1) / 2**30).resident
    assert make(storage="resident", resident_gib=0).resident
    assert not make(storage="stream").resident
    assert not make(augment=Augmentation(min_area=0.5)).resident
    with pytest.raises(ConfigError, match=r"data\.augment\.min_area: .*--data\.storage stream"):
        _ = make(storage="resident", augment=Augmentation(min_area=0.5)).resident


def test_class_counts_are_of_the_training_split(make):
    assert make().class_counts == [16, 16, 16]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, r"^data\.batch_size: must be at least 1; got 0$"),
        ({"eval_batch_size": 0}, r"^data\.eval_batch_size: must be at least 1; got 0$"),
        ({"repeats": 101}, r"^data\.repeats: must be at most 100; got 101$"),
        ({"center_crop": 0.0}, r"^data\.center_crop: must be above 0 and at most 1; got 0.0$"),
        ({"balance": 1.1}, r"^data\.balance: must lie in 0\.\.1; got 1.1$"),
        ({"val_fraction": 1.0}, r"^data\.val_fraction: must lie between 0 and 1; got 1.0$"),
        ({"image_size": 0}, r"^data\.image_size: must be at least 1 pixel; got 0$"),
    ],
)
def test_impossible_options_are_named(options, message, make):
    with pytest.raises(ConfigError, match=message):
        _ = make(**options).image_size


class OneClass(ImageDataModule):
    class_names = ("a",)

    def load_splits(self) -> dict[str, Samples]:
        return {"train": Samples(np.zeros((20, 8, 8, 3), np.uint8), np.zeros(20, np.int64), "train")}


def test_images_of_one_class_cannot_be_mixed():
    data = OneClass(image_size=8, augment=Augmentation(mixup=0.2))
    with pytest.raises(ConfigError, match=r"^data\.augment: mixup and cutmix need training images of two classes"):
        data.setup("fit")
    data.setup("validate")  # which mixes nothing


def test_alone_it_has_no_data_set():
    for use in (lambda data: data.class_names, lambda data: data.splits):
        with pytest.raises(ConfigError, match=r"name one, such as data\.class_path: ImageFolder"):
            use(ImageDataModule())


def test_a_split_can_be_looked_at_without_a_trainer():
    data = Digits(image_size=8, eval_batch_size=100)
    batches = list(data.batches_in_order("test", torch.device("cpu")))
    assert [len(batch.labels) for batch in batches] == [100, 100, 100, 59]
    assert torch.cat([batch.indices for batch in batches]).tolist() == list(range(359))
    assert data.groups("test") == {}
