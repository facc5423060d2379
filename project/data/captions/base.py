"""The datamodule under every set of captioned images."""

from __future__ import annotations

import gc
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_info
from torch import Tensor

from project.data.augmentation import Augmentation
from project.data.base import ImageDataModule
from project.data.batch import Batch
from project.data.captions.batch import CaptionBatch
from project.data.captions.features import FeatureLoader, FeatureTable
from project.data.captions.samples import CaptionedSamples
from project.data.captions.tokenizers import Choice, Tokenizer, choose_tokenizer, tokenize_with
from project.data.captions.tokens import TokenTable
from project.data.captions.vocabulary import Vocabulary
from project.data.loaders import Loader
from project.data.order import EvaluationOrder, TrainingOrder
from project.data.paths import present_files
from project.data.processes import device_of
from project.data.samples import Split
from project.errors import ConfigError, DataError


class CaptionDataModule(ImageDataModule, ABC):
    """Feeds a captioner with images and their captions; a data set is a subclass with `load_splits`.

    The words of a caption are those that the data set has, or what a tokenizer makes of it.

    Args:
        min_count: a word enters the vocabulary if the training captions have it as often as this.
        max_words: longer captions are cut; a run says how many of the training captions that concerns.
        tokenizer: `ptb`, coco-caption's, for English; `unicode`, words by the rules of Unicode, of which an ideograph is
            one; `characters`; `given`, the words in the file (Karpathy's `tokens`), also for scores. `auto` is `ptb`, but
            `given` where PTB does not find the file's words, and `unicode` where captions have no spaces between words.
            Lies in the checkpoint.
        captions_per_image: captions of each image in a training batch, or as many as the image with the most has;
            an image with more of them shows others each epoch.
        cache_features: whether what a frozen network sees in the images is computed once and kept in `cache_dir`, in
            float16; without augmentation. Where it cannot be written, up to `resident_gib` are kept in memory.
        **options: those of `ImageDataModule`.
    """

    def __init__(
        self,
        min_count: int = 1,
        max_words: int = 20,
        tokenizer: Choice = "auto",
        captions_per_image: int = 5,
        cache_features: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        counts = {"min_count": min_count, "max_words": max_words, "captions_per_image": captions_per_image}
        for name, value in counts.items():
            if value < 1:
                raise ConfigError(f"data.{name}: must be at least 1; got {value}")
        if self.augment.mixes:
            raise ConfigError("data.augment: mixup and cutmix mix two images, and captions cannot be mixed; "
                              "set both to 0")  # fmt: skip
        if self.balance:
            raise ConfigError("data.balance: shares out classes, and captioned images have none; leave it at 0")
        self.min_count = min_count
        self.max_words = max_words
        self._asked_tokenizer: Choice = tokenizer
        self.captions_per_image = captions_per_image
        if cache_features and (self.augment != Augmentation() or self.skip_bad):
            raise ConfigError("data.cache_features: keeps what is seen in every image as it is; leave out data.augment "
                              "and data.on_bad_image, or set it to false")  # fmt: skip
        self.cache_features = cache_features
        self._features: dict[Split, FeatureTable] = {}
        self._words: dict[Split, list[list[list[str]]]] = {}
        self._references: dict[Split, list[list[str]]] = {}
        self._tables: dict[Split, TokenTable] = {}
        self._rows: dict[Split, tuple[int, Tensor]] = {}
        self._training: Loader | None = None

    # ---- what a data set says of itself

    @abstractmethod
    def load_splits(self) -> dict[Split, CaptionedSamples]:
        """The splits that the set brings: `train`, and `val` and `test` where it has them."""

    @property
    def class_names(self) -> list[str]:
        """None: what an image shows, its captions say."""
        return []

    # ---- what follows from it

    @cached_property
    def splits(self) -> dict[Split, CaptionedSamples]:
        """As in the base class, without captions that have no word."""
        with _no_collection():
            return self._with_words()

    def _with_words(self) -> dict[Split, CaptionedSamples]:
        # its function, since `super().splits` would leave what it found in this property's place if the rest fails
        splits = cast("dict[Split, CaptionedSamples]", ImageDataModule.splits.func(self))  # type: ignore[attr-defined]  # mypy sees a property
        self._tokenizer = choose_tokenizer(self._asked_tokenizer, splits["train"].captions, splits["train"].tokens)
        if self._tokenizer == "given":
            _check_given(splits)
        elif self._tokenizer != "ptb":
            splits = {split: replace(samples, tokens=None) for split, samples in splits.items()}
        tokenize = tokenize_with(self._tokenizer)
        kept = {split: samples.with_words(tokenize) for split, samples in splits.items()}
        before, after = (
            sum(len(texts) for samples in part.values() for texts in samples.captions) for part in (splits, kept)
        )
        if left_out := before - after:
            rank_zero_info(f"data: {left_out} of {before} captions have no words and are left out")
        return kept

    @cached_property
    def vocabulary(self) -> list[str]:
        """The words of the training captions, as `Vocabulary` takes them."""
        captions = (caption for captions in self._words_of("train") for caption in captions)
        return Vocabulary.build(captions, self.min_count).words

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer of the captions, as given or as found."""
        _ = self.splits
        return self._tokenizer

    @property
    def training_captions(self) -> list[str]:
        """The references of the training split, which tell a new caption from a learned one."""
        return [text for texts in self.references("train") for text in texts]

    def references(self, split: Split) -> list[list[str]]:
        """The captions of each image as metrics read them: raw with `ptb`, else words that spaces join."""
        if self.tokenizer == "ptb":
            return self.splits[split].captions
        if split not in self._references:
            self._references[split] = [[*map(" ".join, captions)] for captions in self._words_of(split)]
        return self._references[split]

    def _words_of(self, split: Split) -> list[list[list[str]]]:
        """The words of every caption of every image of a split."""
        if split not in self._words:
            samples, tokenize = self.splits[split], tokenize_with(self.tokenizer)
            with _no_collection():
                known = cast("list[list[list[str]]] | None", samples.tokens)  # all of them, from `with_words` on
                self._words[split] = known or [[*map(tokenize, texts)] for texts in samples.captions]
        return self._words[split]

    def _present(self, paths: Sequence[Path], folder: Path, option: str, splits: Sequence[Split]) -> np.ndarray:
        """Indices of the listed files that are there: all of them, or with `on_bad_image: skip` all but some of training.

        Args:
            paths: listed files.
            folder: that they lie in.
            option: names the folder, for messages.
            splits: of the files; what is measured is measured on all images.

        Raises:
            DataError: see `present_files`; or none is there to train on.
        """
        if not self.skip_bad:
            return np.array(present_files(paths, folder, option), np.int64)
        present_files([path for path, split in zip(paths, splits, strict=True) if split != "train"], folder, option)
        present = present_files(paths, folder, option, self._skipped)
        if "train" in splits and not any(splits[index] == "train" for index in present):
            raise DataError(f"{option}: none of the listed images of the train split is there; add them")
        return np.array(present, np.int64)

    # ---- Lightning's hooks

    def setup(self, stage: str) -> None:
        """Says once how many captions are cut."""
        super().setup(stage)
        if stage == "fit":
            lengths = [len(caption) for captions in self._words_of("train") for caption in captions]
            if cut := sum(length > self.max_words for length in lengths):
                rank_zero_info(f"data: {cut} of {len(lengths)} training captions have more than {self.max_words} words "
                               "and are cut")  # fmt: skip

    def train_dataloader(self) -> Loader:
        """See the base class."""
        self._training = super().train_dataloader()
        return self._training

    def use_features(self, split: Split, features: FeatureTable) -> None:
        """From now on, batches of a split hold features in the place of images."""
        self._features[split] = features

    def _loader(self, split: Split, order_class: type[TrainingOrder] | type[EvaluationOrder]) -> Loader:
        if split not in self._features:
            return super()._loader(split, order_class)
        pin_memory = device_of(self.trainer).type == "cuda"
        return self._kept(
            f"{split} features", FeatureLoader(self._features[split], self._order(split, order_class), pin_memory)
        )

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Adds the captions to a batch of images."""
        batch = super().on_after_batch_transfer(batch, dataloader_idx)
        if not isinstance(batch, Batch):
            return batch
        assert self.trainer is not None, "Lightning calls this"
        stage, indices = self.trainer.state.stage, batch.indices
        if stage == "predict":
            return CaptionBatch(batch.images, indices.new_empty(len(indices), 0, 0), indices)
        split: Split = "train" if stage == "train" else "test" if stage == "test" and "test" in self.splits else "val"
        table = self._table(split, indices.device)
        tokens = table.gather(self._rows_of(split, table)[indices])
        references = None if split == "train" else [self.references(split)[i] for i in indices.tolist()]
        return CaptionBatch(batch.images, tokens, indices, references)

    def teardown(self, stage: str) -> None:
        """Gives the captions' memory back: the next network may know other words."""
        super().teardown(stage)
        self._tables.clear()
        self._rows.clear()
        self._features.clear()
        self._training = None

    # ---- how

    def _table(self, split: Split, device: torch.device) -> TokenTable:
        if split not in self._tables or self._tables[split].device != device:
            # the network's own words where a checkpoint brought them; another set's would have other numbers
            words = getattr(self.trainer and self.trainer.lightning_module, "vocabulary", None)
            vocabulary = words if isinstance(words, Vocabulary) else Vocabulary(words or self.vocabulary)
            self._tables[split] = TokenTable(self._words_of(split), vocabulary, self.max_words, device)
            self._rows.pop(split, None)
        return self._tables[split]

    def _rows_of(self, split: Split, table: TokenTable) -> Tensor:
        """The rows that a batch looks its captions up in, (N, R) int64, made once an epoch."""
        # overfitting has an order without epochs, and shows the same captions in all of them
        shown = self._training if split == "train" else None
        epoch = 0 if shown is None else getattr(shown.order, "epoch", 0)
        if split not in self._rows or self._rows[split][0] != epoch:
            train = split == "train"
            rows = table.drawn_rows(self.seed, epoch, self.captions_per_image) if train else table.all_rows()
            self._rows[split] = epoch, rows
        return self._rows[split][1]


def _check_given(splits: Mapping[Split, CaptionedSamples]) -> None:
    for samples in splits.values():
        for index, known in enumerate(samples.tokens or [[None]] * len(samples)):
            if None in known:
                raise DataError(f"data.tokenizer: given takes the words from the file, and a caption of "
                                f"{samples.name_of(index)} has none; add them, or choose unicode or characters")  # fmt: skip


@contextmanager
def _no_collection() -> Iterator[None]:
    """Without the garbage collector, which would look through millions of new lists again and again."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
