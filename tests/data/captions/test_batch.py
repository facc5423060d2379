"""A batch keeps its form on its way through Lightning."""

from __future__ import annotations

import torch
from lightning.fabric.utilities import move_data_to_device

from project.data.captions.batch import CaptionBatch


def test_a_batch_moved_to_a_device_is_still_a_batch():
    images, tokens = torch.zeros(2, 3, 4, 4, dtype=torch.uint8), torch.zeros(2, 5, 7, dtype=torch.int64)
    references = [["A dog.", "Dogs"], ["A cat."]]
    moved = move_data_to_device(CaptionBatch(images, tokens, torch.tensor([5, 3]), references), "meta")
    assert isinstance(moved, CaptionBatch)
    assert [part.device.type for part in moved[:3]] == ["meta"] * 3
    assert moved.tokens.shape == (2, 5, 7)
    assert moved.references == references


def test_references_are_given_outside_training_only():
    assert CaptionBatch(indices="where", tokens="words", images="pixels") == ("pixels", "words", "where", None)
