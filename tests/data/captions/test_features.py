"""Features on disk: whole or absent, and handed out in the order of the images."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from project.data.captions.features import FeatureLoader, write_features
from project.data.order import EvaluationOrder, TrainingOrder
from project.errors import DataError

FEATURES = torch.arange(7 * 2 * 3).view(7, 2, 3) / 16  # float16 holds them exactly


@pytest.fixture
def path(tmp_path):
    return tmp_path / "kept" / "features.npy"


def write(path, count: int = 7) -> list[int]:
    """Writes them three at a time; returns which were computed."""
    computed = []

    def features():
        for part in FEATURES.split(3):
            computed.append(len(part))
            yield part

    write_features(path, count, features)
    return computed


def test_they_are_computed_once(path):
    assert write(path) == [3, 3, 1]
    assert write(path) == []
    kept = np.load(path)
    assert kept.dtype == np.float16
    assert torch.equal(torch.from_numpy(kept).float(), FEATURES)
    assert [file.name for file in path.parent.iterdir()] == ["features.npy"]


def test_a_file_that_is_cut_off_or_of_another_split_is_written_anew(path):
    write(path)
    path.write_bytes(path.read_bytes()[:-10])
    assert write(path) == [3, 3, 1]
    path.write_bytes(b"")
    assert write(path) == [3, 3, 1]
    np.save(path, np.zeros((6, 2, 3), np.float16))
    assert write(path) == [3, 3, 1]


def test_breaking_off_leaves_nothing(path):
    def features():
        yield FEATURES[:3]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_features(path, 7, features)
    assert list(path.parent.iterdir()) == []


def test_a_full_disk_is_one_line(path, small_files_only):
    with small_files_only(100), pytest.raises(DataError, match=r"data\.cache_dir: features cannot be kept in .*kept"):
        write(path)
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize("start", [0, 2])
def test_batches_have_the_features_of_their_samples(path, start):
    write(path)
    order = TrainingOrder(7, 3, seed=5)
    loader = FeatureLoader(path, order)
    loader.load_state_dict({"yielded": start})
    batches = list(loader)
    assert [batch.indices.tolist() for batch in batches] == [views.tolist() for views in order.batches(start)]
    for batch in batches:
        assert torch.equal(batch.images.float(), FEATURES[batch.indices])


def test_two_processes_share_them(path):
    write(path)
    seen = [batch.indices for rank in range(2) for batch in FeatureLoader(path, EvaluationOrder(7, 2, rank, 2))]
    assert sorted(torch.cat(seen).tolist()) == list(range(7))
