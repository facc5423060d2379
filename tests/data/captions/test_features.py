"""Features of images: computed once, never wrong, and handed out in the order of the images."""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch

from project.data.cache import CachedRows
from project.data.captions.features import FeatureLoader, FeatureTable, keep_features
from project.data.order import EvaluationOrder, TrainingOrder
from project.errors import DataError

FEATURES = torch.arange(7 * 2 * 3).view(7, 2, 3) / 16  # float16 holds them exactly
ALL = np.arange(7)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "kept" / "features.cache"


def keep(path, gib: float = 1.0) -> tuple[FeatureTable, list[int]]:
    """Computes them three at a time; returns the table and how many were computed."""
    computed = []

    def features():
        for part in FEATURES.split(3):
            computed.append(len(part))
            yield part

    return keep_features(CachedRows(path, 7, (2, 3), np.float16, "features"), features, gib), computed


def assert_holds_features(table: FeatureTable) -> None:
    values = table(ALL[::-1].copy())
    assert values.dtype == np.float16
    np.testing.assert_array_equal(values, FEATURES.numpy()[::-1])


def test_features_are_computed_once(path):
    for expected in ([3, 3, 1], []):
        table, computed = keep(path)
        assert computed == expected
        assert_holds_features(table)
    assert [file.name for file in path.parent.iterdir()] == ["features.cache"]


def flip_a_bit(path) -> None:
    content = bytearray(path.read_bytes())
    content[-9] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    "damage",
    [flip_a_bit, lambda path: os.truncate(path, path.stat().st_size - 10), lambda path: path.write_bytes(b"")],
    ids=["a bit", "cut off", "empty"],
)
def test_damaged_features_are_noticed_and_computed_again(path, damage, capsys):
    keep(path)
    damage(path)
    table, computed = keep(path)
    assert computed == [3, 3, 1]
    assert_holds_features(table)
    assert capsys.readouterr().out.startswith(f"features: {path} is ")


@pytest.mark.parametrize("damage", [flip_a_bit, lambda path: os.truncate(path, 4100)], ids=["a bit", "truncated"])
def test_features_damaged_while_they_are_in_use_are_an_error(path, damage):
    table, _ = keep(path)
    damage(path)
    with pytest.raises(DataError, match=r"features\.cache: damaged or cut off while it was in use; run the command"):
        table(ALL)
    assert keep(path)[1] == [3, 3, 1]


def test_features_whose_computing_was_broken_off_leave_nothing(path):
    def features():
        yield FEATURES[:3]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        keep_features(CachedRows(path, 7, (2, 3), np.float16, "features"), features, 1)
    assert list(path.parent.iterdir()) == []


def test_full_disk_keeps_features_in_memory_where_they_fit(path, small_files_only, capsys):
    with small_files_only(100):
        table, computed = keep(path)
        assert_holds_features(table)
        assert computed == [3, 3, 1]
        assert capsys.readouterr().out == f"features are not kept: {path.parent} cannot be written (File too large)\n"
        with pytest.raises(DataError, match=r"^data\.cache_dir: features of .* cannot be kept in .*kept \(File too "):
            keep(path, gib=1e-9)
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize("start", [0, 2])
def test_batches_have_the_features_of_their_samples(path, start):
    table, _ = keep(path)
    order = TrainingOrder(7, 3, seed=5)
    loader = FeatureLoader(table, order)
    loader.load_state_dict({"yielded": start})
    batches = list(loader)
    assert [batch.indices.tolist() for batch in batches] == [views.tolist() for views in order.batches(start)]
    for batch in batches:
        assert torch.equal(batch.images.float(), FEATURES[batch.indices])


def test_two_processes_share_them(path):
    table, _ = keep(path)
    seen = [batch.indices for rank in range(2) for batch in FeatureLoader(table, EvaluationOrder(7, 2, rank, 2))]
    assert sorted(torch.cat(seen).tolist()) == list(range(7))
