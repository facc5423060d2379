"""Captioners and their data: captions, the tokenizer, and batches of loaders."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from project.data import Digits
from project.data.batch import Batch
from project.data.captions.base import CaptionDataModule
from project.data.captions.batch import CaptionBatch
from project.errors import DataError
from project.tasks import Captioner


class Texts(CaptionDataModule):
    """Data of which only the tokenizer is asked for."""

    tokenizer = "characters"

    def load_splits(self):
        return {}


def captioner(tokenizer: str | None) -> Captioner:
    return Captioner(["红", "色"], 5, 8, backbone_options={"width": 4}, tokenizer=tokenizer)


def test_check_data_without_captions_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"^data: Digits has no captions; name a set that has, such as CaptionTable$"):
        captioner(None).check_data(Digits(cache_dir=str(tmp_path)))


def test_tokenizer_that_is_not_given_is_that_of_the_data(tmp_path):
    task = captioner(None)
    assert task.tokenizer == "ptb"
    task.check_data(Texts(cache_dir=str(tmp_path)))
    assert task.tokenizer == task.hparams["tokenizer"] == "characters"


def test_tokenizer_of_other_data_is_refused(tmp_path):
    with pytest.raises(
        DataError, match=r"^data\.tokenizer: characters, and the captioner's words are those of unicode; set"
    ):
        captioner("unicode").check_data(Texts(cache_dir=str(tmp_path)))


def test_readable_joins_words_as_the_tokenizer_found_them():
    assert captioner("characters").readable("红 色") == "红色"
    assert captioner("ptb").readable("a dog 's") == "a dog 's"


def test_checked_batch_without_captions_is_refused_in_training_alone():
    task = captioner("ptb")
    images = torch.zeros(2, 3, 8, 8, dtype=torch.uint8)
    batch = CaptionBatch(images, torch.zeros(2, 1, 4, dtype=torch.long), torch.arange(2))
    plain = Batch(images, torch.zeros(2, dtype=torch.long), torch.arange(2))
    task._trainer = SimpleNamespace(predicting=False)
    assert task.checked_batch(batch) is batch
    with pytest.raises(DataError, match=r"^loader: a captioner takes a project\.data\.CaptionBatch; got a Batch; "):
        task.checked_batch(plain)
    task._trainer = SimpleNamespace(predicting=True)
    assert torch.equal(task.checked_batch(plain).images, images)


def test_check_hyper_parameters_of_earlier_checkpoints_have_the_tokenizer_ptb():
    task = captioner("characters")
    values = {name: value for name, value in task.hparams.items() if name != "tokenizer"}
    found = Captioner.check_hyper_parameters(values, "ckpt_path: x", task.state_dict())
    assert found["tokenizer"] == "ptb"
