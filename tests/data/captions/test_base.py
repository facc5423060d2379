"""The datamodule as Lightning drives it: which captions training, validation, test and prediction see."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from PIL import Image

from project.data import Batch, CaptionBatch, CaptionDataModule
from project.data.augmentation import Augmentation
from project.data.captions.samples import CaptionedSamples
from project.data.captions.vocabulary import Vocabulary
from project.data.images import load_square
from project.errors import ConfigError, DataError
from project.metrics.ptb_tokenizer import ptb_tokenize

SIZE = 8
NOUNS = ["dog", "cat", "bird", "tree", "wave", "kite", "bus"]
BOTH = pytest.mark.parametrize("storage", ["resident", "stream"])
Seen = dict[tuple[str, int], list[CaptionBatch]]


def texts_of(index: int) -> list[str]:
    """One to four captions, told apart by their length too."""
    return [f"A {NOUNS[(index + j) % 7]}, number {index}{' and so on' * j}." for j in range(1 + index % 4)]


class Toy(CaptionDataModule):
    """48 noisy images to train on, 6 for validation and 7 for testing."""

    def __init__(self, root: Path, parts: tuple[str, ...] = ("train", "val", "test"), tokens: bool = False, **options):
        super().__init__(**options)
        self.root, self.parts, self.with_tokens = root, parts, tokens

    def load_splits(self) -> dict[str, CaptionedSamples]:
        splits = {}
        for split in self.parts:
            paths = sorted((self.root / split).iterdir())
            captions = [texts_of(i) for i in range(len(paths))]
            tokens = [[["own", *text.split()] for text in texts] for texts in captions]
            splits[split] = CaptionedSamples.of(paths, captions, split, tokens if self.with_tokens else None)
        return splits


@pytest.fixture
def make(tmp_path):
    random = np.random.default_rng(0)
    for split, count in (("train", 48), ("val", 6), ("test", 7)):
        (tmp_path / "set" / split).mkdir(parents=True)
        for i in range(count):
            image = random.integers(0, 256, (9, 11, 3), np.uint8)
            Image.fromarray(image).save(tmp_path / "set" / split / f"{i:02}.png")

    def build(**options) -> Toy:
        defaults = {"image_size": SIZE, "batch_size": 20, "eval_batch_size": 4, "num_workers": 0}
        defaults |= {"captions_per_image": 2, "augment": Augmentation(crop=1, flip=True)}
        return Toy(tmp_path / "set", **{**defaults, **options})

    return build


class Recorder(LightningModule):
    """Trains nothing and keeps every batch, by stage and epoch."""

    image_size = SIZE
    center_crop = 1.0

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.seen: Seen = {}

    def _keep(self, stage: str, batch: CaptionBatch) -> None:
        self.seen.setdefault((stage, self.current_epoch), []).append(batch)

    def training_step(self, batch: CaptionBatch, batch_idx: int) -> torch.Tensor:
        self._keep("train", batch)
        return self.weight.sum()

    def validation_step(self, batch: CaptionBatch, batch_idx: int) -> None:
        self._keep("val", batch)

    def test_step(self, batch: CaptionBatch, batch_idx: int) -> None:
        self._keep("test", batch)

    def predict_step(self, batch: CaptionBatch, batch_idx: int) -> torch.Tensor:
        self._keep("predict", batch)
        return batch.indices

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def drive(data: CaptionDataModule, verb: str = "fit", task: Recorder | None = None, **options) -> Seen:
    defaults = {"max_epochs": 1, "num_sanity_val_steps": 0, "enable_model_summary": False}
    trainer = Trainer(
        accelerator="cpu", devices=1, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        **defaults | options,
    )  # fmt: skip
    task = task or Recorder()
    getattr(trainer, verb)(task, datamodule=data)
    return task.seen


def said(batches: list[CaptionBatch], words: list[str]) -> dict[int, list[list[str]]]:
    """The captions of each sample in words, without those of nothing but padding."""
    vocabulary = Vocabulary(words)
    by_index = {}
    for batch in batches:
        for index, rows in zip(batch.indices.tolist(), batch.tokens.tolist(), strict=True):
            assert index not in by_index
            by_index[index] = [vocabulary.decode(row) for row in rows if any(row)]
    return by_index


@BOTH
def test_training_shows_other_captions_of_each_image_every_epoch(storage, make):
    data = make(storage=storage)
    seen = drive(data, max_epochs=4)
    by_epoch = [said(seen["train", epoch], data.vocabulary) for epoch in range(4)]
    for by_index in by_epoch:
        assert sorted(by_index) == list(range(48))
        for index, captions in by_index.items():
            words = [ptb_tokenize(text) for text in texts_of(index)]
            assert len(captions) == min(2, len(words))
            assert all(caption in words for caption in captions)
            assert captions == words[:2] or len(words) > 2
    shown = {tuple(map(tuple, by_index[3])) for by_index in by_epoch}
    assert len(shown) > 1
    for batch in seen["train", 0]:
        assert (batch.tokens.dtype, batch.tokens.shape[:2]) == (torch.int64, (16, 2))
        assert batch.tokens.any(2).any(0).tolist() == [True, True]
        assert batch.tokens.any(1).any(0).all(), "wider than the longest caption"
        assert batch.references is None


def test_batches_depend_on_nothing_but_seed_epoch_and_index(make):
    whole = drive(make(), max_epochs=2)
    for other in (make(storage="stream"), make(storage="stream", num_workers=2)):
        again = drive(other, max_epochs=2)
        for epoch in range(2):
            for one, two in zip(whole["train", epoch], again["train", epoch], strict=True):
                assert all(map(torch.equal, one[:3], two[:3]))
    words = make().vocabulary
    first, second = (said(whole["train", epoch], words) for epoch in range(2))
    smaller = drive(make(batch_size=7), max_epochs=2)
    assert said(smaller["train", 1], words) == second
    assert first != second
    assert said(drive(make(seed=1))["train", 0], words) != first


@BOTH
def test_a_run_that_was_stopped_in_mid_epoch_goes_on_with_the_same_captions(storage, make, tmp_path):
    whole = drive(make(storage=storage), max_epochs=2)
    options = {"max_epochs": 2, "limit_val_batches": 0, "accelerator": "cpu", "logger": False, "devices": 1,
               "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}  # fmt: skip
    first = Trainer(**options)
    before = Recorder()
    before.on_train_batch_end = lambda *_: (
        first.save_checkpoint(tmp_path / "mid.ckpt") if before.global_step == 4 else None
    )
    first.fit(before, datamodule=make(storage=storage))
    after = Recorder()
    Trainer(**options).fit(after, datamodule=make(storage=storage), ckpt_path=tmp_path / "mid.ckpt", weights_only=True)
    assert set(after.seen) == {("train", 1)}
    resumed = after.seen["train", 1]
    assert 0 < len(resumed) < len(whole["train", 1])
    for one, two in zip(whole["train", 1][-len(resumed) :], resumed, strict=True):
        assert all(map(torch.equal, one[:3], two[:3]))


@BOTH
@pytest.mark.parametrize(("verb", "split", "count"), [("validate", "val", 6), ("test", "test", 7)])
def test_outside_training_all_captions_and_the_texts_are_there(storage, verb, split, count, make):
    data = make(storage=storage)
    batches = drive(data, verb)[split, 0]
    known = set(data.vocabulary)
    assert [len(batch.indices) for batch in batches] == [4, count - 4]
    assert said(batches, data.vocabulary) == {
        i: [[word if word in known else "<unk>" for word in ptb_tokenize(text)] for text in texts_of(i)]
        for i in range(count)
    }
    assert all(batch.tokens.shape[1] == 4 for batch in batches), "not as many as the image with the most has"
    assert [texts for batch in batches for texts in batch.references] == [texts_of(i) for i in range(count)]
    for batch in batches:
        for image, index in zip(batch.images, batch.indices.tolist(), strict=True):
            path = data.splits[split].images[index]
            np.testing.assert_array_equal(image.permute(1, 2, 0), load_square(path, SIZE))


def test_validation_during_training_has_its_own_captions(make):
    data = make(captions_per_image=1)
    seen = drive(data, max_epochs=2, val_check_interval=2, num_sanity_val_steps=1)
    assert [batch.tokens.shape[1] for batch in seen["train", 1]] == [1] * 3
    val = seen["val", 1]
    assert [batch.references for batch in val] == [[texts_of(i) for i in range(4)], [texts_of(4), texts_of(5)]]


def test_a_missing_validation_split_is_held_out_with_its_captions(make):
    data = make(parts=("train",))
    assert {split: len(samples) for split, samples in data.splits.items()} == {"train": 43, "val": 5}
    assert all(isinstance(samples, CaptionedSamples) for samples in data.splits.values())
    held = [int(path.stem) for path in data.splits["val"].images]
    assert data.splits["val"].captions == [texts_of(i) for i in held]
    batches = drive(data, "test")["test", 0]
    assert [texts for batch in batches for texts in batch.references] == [texts_of(i) for i in held]


@BOTH
def test_prediction_has_no_captions(storage, make, tmp_path):
    data = make(storage=storage, predict=str(tmp_path / "set/test"), eval_batch_size=9)
    (batch,) = drive(data, "predict")["predict", 0]
    assert batch.tokens.shape == (7, 0, 0)
    assert batch.tokens.dtype == torch.int64
    assert batch.references is None
    assert batch.indices.tolist() == list(range(7))


@BOTH
def test_overfitting_repeats_the_same_captions(storage, make):
    data = make(storage=storage)
    seen = drive(data, max_epochs=2, overfit_batches=2)
    for one, two in zip(seen["train", 0], seen["train", 1], strict=True):
        assert all(map(torch.equal, one[:3], two[:3]))
    assert len(said(seen["train", 0], data.vocabulary)) == 40


@BOTH
def test_a_skipped_file_leaves_every_other_caption_with_its_image(storage, make):
    data = make(storage=storage, on_bad_image="skip", captions_per_image=9)
    os.truncate(data.splits["train"].images[3], 60)
    assert said(drive(data)["train", 0], data.vocabulary) == {
        i: [ptb_tokenize(text) for text in texts_of(i)] for i in range(48) if i != 3
    }


def test_the_words_of_the_file_are_taken_where_it_has_them(make):
    data = make(tokens=True, captions_per_image=4)
    assert {"own", "A"} <= set(data.vocabulary)
    assert "a" not in data.vocabulary
    assert said(drive(data)["train", 0], data.vocabulary)[5] == [["own", *text.split()] for text in texts_of(5)]


def test_the_vocabulary_is_of_the_training_captions(make):
    data = make(parts=("train", "val"), min_count=10)
    counts: dict[str, int] = {}
    for i in range(48):
        for text in texts_of(i):
            for word in ptb_tokenize(text):
                counts[word] = counts.get(word, 0) + 1
    assert data.vocabulary == sorted((w for w, n in counts.items() if n >= 10), key=lambda w: (-counts[w], w))
    assert "number" in data.vocabulary
    assert data.training_captions == [text for i in range(48) for text in texts_of(i)]
    with pytest.raises(DataError, match=r"^data\.min_count: no word .* occurs 1000 times; .* 120 times"):
        _ = make(min_count=1000).vocabulary


@pytest.mark.parametrize("kind", [list, Vocabulary])
def test_a_network_that_knows_its_words_gets_their_numbers(kind, make):
    task = Recorder()
    task.vocabulary = kind(["dog", "a"])
    (batch, _) = drive(make(), "validate", task)["val", 0]
    assert batch.tokens[0, 0].tolist()[:5] == [5, 4, 3, 3, 2]  # a dog <unk> <unk> <end>


def test_long_captions_are_cut_and_counted_once(make, caplog):
    data = make(max_words=7, captions_per_image=9)
    lengths = [len(ptb_tokenize(text)) for i in range(48) for text in texts_of(i)]
    seen = drive(data, max_epochs=2)
    line = f"data: {sum(n > 7 for n in lengths)} of 120 training captions have more than 7 words and are cut"
    assert caplog.messages.count(line) == 1
    assert said(seen["train", 1], data.vocabulary)[3] == [ptb_tokenize(text)[:7] for text in texts_of(3)]
    assert max(batch.tokens.shape[2] for batch in seen["train", 0]) == 8
    assert data.max_words == 7


class Told(CaptionDataModule):
    """Images in memory whose captions the test says."""

    def __init__(self, captions: list[list[str]], **options) -> None:
        super().__init__(image_size=SIZE, num_workers=0, **options)
        self.captions = captions

    def load_splits(self) -> dict[str, CaptionedSamples]:
        images = np.zeros((len(self.captions), SIZE, SIZE, 3), np.uint8)
        return {split: CaptionedSamples.of(images, self.captions, split) for split in ("train", "val")}


def test_captions_without_words_are_left_out_and_counted(caplog):
    data = Told([["...", "A dog"], ["A cat", "!"], ["犬"]], captions_per_image=5)
    assert data.splits["train"].captions == [["A dog"], ["A cat"], ["犬"]]
    assert caplog.messages == ["data: 4 of 10 captions have no words and are left out"]
    (batch,) = drive(data)["train", 0]
    assert batch.tokens.shape[1] == 1, "more than any image has"


def test_an_image_without_any_is_named_each_time_it_is_asked_for():
    data = Told([["A dog"], ["...", " "]])
    for _ in range(2):
        with pytest.raises(DataError, match=r"^train split: train 1: .* only '\.\.\.', which has no word; "):
            _ = data.splits
        assert gc.isenabled()


def test_one_training_image_cannot_be_shared(make, tmp_path):
    for path in sorted((tmp_path / "set/train").iterdir())[1:]:
        path.unlink()
    with pytest.raises(DataError, match=r"^data: the val split has no images; training needs two or more to share$"):
        _ = make(parts=("train",)).splits


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"min_count": 0}, r"^data\.min_count: must be at least 1; got 0$"),
        ({"max_words": 0}, r"^data\.max_words: must be at least 1; got 0$"),
        ({"captions_per_image": -1}, r"^data\.captions_per_image: must be at least 1; got -1$"),
        ({"augment": Augmentation(mixup=0.2)}, r"^data\.augment: mixup and cutmix .* set both to 0$"),
        ({"augment": Augmentation(cutmix=1.0)}, r"^data\.augment: mixup and cutmix .* set both to 0$"),
        ({"balance": 0.5}, r"^data\.balance: .* leave it at 0$"),
    ],
)
def test_impossible_options_are_named(options, message, make):
    with pytest.raises(ConfigError, match=message):
        make(**options)


def test_it_has_no_classes(make):
    data = make()
    assert data.class_names == []
    assert set(data.fingerprint()) == {"train", "val", "test"}
    assert isinstance(Batch(None, None, None), tuple)


def test_worker_processes_get_no_captions(make):
    data = make(storage="stream")
    data.trainer = Trainer(accelerator="cpu", devices=1, logger=False, enable_checkpointing=False)
    loader = data.train_dataloader()
    assert not any(isinstance(value, CaptionedSamples) for value in vars(loader._loader.dataset).values())
    data.teardown("fit")
