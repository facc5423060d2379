"""A batch keeps its form on its way through Lightning."""

from __future__ import annotations

import numpy as np
import torch
from lightning.fabric.utilities import move_data_to_device

from project.data.batch import Batch


def test_a_batch_moved_to_a_device_is_still_a_batch():
    batch = Batch(torch.zeros(2, 3, 4, 4, dtype=torch.uint8), torch.tensor([1, 0]), torch.tensor([5, 3]))
    moved = move_data_to_device(batch, "meta")
    assert isinstance(moved, Batch)
    assert [(part.device.type, part.shape, part.dtype) for part in (moved.images, moved.labels, moved.indices)] == [
        ("meta", (2, 3, 4, 4), torch.uint8),
        ("meta", (2,), torch.int64),
        ("meta", (2,), torch.int64),
    ]


def test_a_batch_unpacks_as_images_labels_indices_what_is_mixed_in_and_views():
    images, labels, indices, *others = Batch(indices="where", labels="what", images="pixels")
    assert (images, labels, indices, others) == ("pixels", "what", "where", [None, None, None])


def test_views_go_to_the_device_and_what_is_on_the_host_stays_there():
    indices, view = torch.tensor([5, 3]), torch.tensor([0, 7])
    on_host = np.stack([indices.numpy(), view.numpy()])
    batch = Batch(torch.zeros(2, 3, 4, 4, dtype=torch.uint8), indices, indices, view=view, on_host=on_host)
    moved = move_data_to_device(batch, "meta")
    assert moved.view.device.type == "meta"
    assert moved.on_host is on_host
