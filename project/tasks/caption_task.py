"""Base of captioners: their data, and the tokenizer by which captions are made words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from project.data.captions.base import CaptionDataModule
from project.data.captions.batch import CaptionBatch
from project.data.captions.tokenizers import Tokenizer, join_words, split_words
from project.errors import DataError
from project.runs.undeclared import data_of
from project.tasks.fine_tuned import FineTunedTask


class CaptionTask(FineTunedTask):
    """A task on images with captions, whose hyperparameter `tokenizer` is that of the data."""

    def setup(self, stage: str) -> None:
        """See `Task`; without a tokenizer of its own, the task takes the data's."""
        self._take_tokenizer(data_of(self.trainer))
        super().setup(stage)

    def check_data(self, data: Any) -> None:
        """See `Task`: its images have captions."""
        if not isinstance(data, CaptionDataModule):
            raise DataError(f"data: {type(data).__name__} has no captions; name a set that has, such as CaptionTable")
        self._take_tokenizer(data)

    @classmethod
    def check_hyper_parameters(
        cls, values: dict[str, Any], where: str, state_dict: Mapping[str, Tensor]
    ) -> dict[str, Any]:
        """See `Task`. Captioners without a tokenizer are from before there were others than `ptb`."""
        return super().check_hyper_parameters({"tokenizer": "ptb", **values}, where, state_dict)

    @property
    def tokenizer(self) -> Tokenizer:
        """How captions are made words."""
        return self.hparams["tokenizer"] or "ptb"

    def readable(self, caption: str) -> str:
        """A caption for people, of one as metrics read it: words that spaces join."""
        return caption if self.tokenizer == "ptb" else join_words(split_words(caption), self.tokenizer)

    def _take_tokenizer(self, data: Any) -> None:
        """Takes the data's tokenizer where none was given, and refuses data with another one."""
        theirs = getattr(data, "tokenizer", None)
        own = self.hparams["tokenizer"]
        if own is None:
            self.hparams["tokenizer"] = theirs
        elif theirs not in (None, own):
            raise DataError(f"data.tokenizer: {theirs}, and the captioner's words are those of {own}; set it to {own}, or "
                            "train a captioner on these data")  # fmt: skip

    def checked_batch(self, batch: Any) -> Any:
        """See `Task`: images with captions."""
        if isinstance(batch, CaptionBatch) or self.trainer.predicting:
            return batch if isinstance(batch, CaptionBatch) else super().checked_batch(batch)
        raise DataError(f"loader: a captioner takes a project.data.CaptionBatch; got a {type(batch).__name__}; give the "
                        "datamodule: datamodule=data")  # fmt: skip
