"""Splits that stay what they are when the data set moves, grows or is listed on another machine."""

from __future__ import annotations

import os
import pickle
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

from project.data.samples import Paths, Samples, stratified_split

LABELS = np.repeat(np.arange(4), (1, 2, 37, 160))
KEYS = [f"class{label}/{i}.png" for i, label in enumerate(LABELS)]


def held_out(labels: np.ndarray, keys: list[str], fraction: float = 0.1) -> set[str]:
    kept, held = stratified_split(labels, keys, fraction, 0)
    assert np.all(np.diff(kept) > 0)
    assert np.all(np.diff(held) > 0)
    assert sorted([*kept, *held]) == list(range(len(labels))), "every sample is on one side"
    return {keys[i] for i in held}


@pytest.mark.parametrize(
    ("fraction", "counts"), [(0.0, (0, 0, 0, 0)), (0.1, (0, 1, 4, 16)), (0.5, (0, 1, 18, 80)), (0.999, (0, 1, 36, 159))]
)
def test_each_class_gives_its_rounded_share_but_never_all_of_it(fraction, counts):
    held = held_out(LABELS, KEYS, fraction)
    assert tuple(sum(key.startswith(f"class{label}/") for key in held) for label in range(4)) == counts


def test_the_split_is_this_one_on_every_machine():
    """The three lowest of `printf '0\\0%s.png' $i | b2sum -l 64` for i in 0..11."""
    keys = [f"{i}.png" for i in range(12)]
    assert held_out(np.zeros(12, np.int64), keys, 0.25) == {"4.png", "6.png", "9.png"}


def test_the_order_of_listing_does_not_matter():
    shuffled = np.random.default_rng(0).permutation(len(LABELS))
    assert held_out(LABELS[shuffled], [KEYS[i] for i in shuffled]) == held_out(LABELS, KEYS)


def test_added_files_displace_at_most_as_many():
    before = held_out(LABELS, KEYS)
    for added in (1, 3, 10):
        keys = [*KEYS, *(f"class3/new{i}.png" for i in range(added))]
        after = held_out(np.append(LABELS, np.full(added, 3)), keys)
        assert len(before - after) <= added
        assert len((after - before) & set(KEYS)) <= added


def test_every_sample_is_as_likely_to_be_held_out():
    keys = [f"{i}.png" for i in range(20)]
    times = np.zeros(20)
    for seed in range(1000):
        _, held = stratified_split(np.zeros(20, np.int64), keys, 0.25, seed)
        times[held] += 1
    assert times.sum() == 5000
    assert stats.chisquare(times).pvalue > 1e-3


@pytest.fixture
def tree(tmp_path) -> Path:
    """Two classes of ten files, some of them deeper."""
    for i in range(20):
        path = tmp_path / "set" / f"class{i % 2}" / ("deep" if i % 3 else "") / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * (i + 1))
    return tmp_path / "set"


def scan(root: Path) -> Samples:
    paths = sorted(root.rglob("*.png"))
    return Samples(paths, np.array([int(path.relative_to(root).parts[0][-1]) for path in paths]), "train")


def test_keys_and_fingerprint_do_not_depend_on_where_the_set_lies(tree, tmp_path, monkeypatch):
    copy = tmp_path / "some/where/else"
    shutil.copytree(tree, copy)
    here, there = scan(tree), scan(copy)
    assert here.keys() == [str(path.relative_to(tree)) for path in here.images]
    assert there.keys() == here.keys()
    assert there.fingerprint() == here.fingerprint()
    monkeypatch.chdir(tree.parent)
    assert scan(Path("set")).keys() == here.keys()


CHANGES = {
    "size": lambda root: (root / "class0/0.png").write_bytes(b"longer"),
    "name": lambda root: (root / "class0/0.png").rename(root / "class0/zero.png"),
    "class": lambda root: (root / "class0/0.png").rename(root / "class1/0.png"),
    "number": lambda root: (root / "class0/0.png").unlink(),
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_fingerprint_tells_another_set(change, tree):
    before = scan(tree).fingerprint()
    CHANGES[change](tree)
    assert scan(tree).fingerprint() != before


def test_the_fingerprint_in_memory_is_of_pixels_and_labels():
    images, labels = np.zeros((3, 4, 4), np.uint8), np.arange(3)
    first = Samples(images, labels, "train").fingerprint()
    brighter = images.copy()
    brighter[2, 3, 3] = 1
    assert Samples(images.copy(), labels.copy(), "val").fingerprint() == first
    assert Samples(brighter, labels, "train").fingerprint() != first
    assert Samples(images, labels[::-1], "train").fingerprint() != first


def test_take_keeps_images_with_their_labels(tree):
    samples = scan(tree)
    chosen = np.array([15, 2, 11])
    taken = samples.take(chosen, "val")
    assert (list(taken.images), taken.split, len(taken)) == ([samples.images[i] for i in chosen], "val", 3)
    np.testing.assert_array_equal(taken.labels, samples.labels[chosen])
    images = np.arange(5 * 4, dtype=np.uint8).reshape(5, 2, 2)
    taken = Samples(images, np.arange(5), "train").take(np.array([4, 0]), "test")
    np.testing.assert_array_equal(taken.images, images[[4, 0]])
    assert (taken.labels.tolist(), taken.keys()) == ([4, 0], ["0", "1"])


def test_a_file_name_that_is_no_text_is_a_name_like_any_other(tree):
    (tree / "class0" / os.fsdecode(b"caf\xe9.png")).write_bytes(b"latin-1")
    samples = scan(tree)
    assert len(samples) == 21
    assert len(held_out(samples.labels, samples.keys(), 0.5)) == 11
    assert len(samples.fingerprint()) == 16


def test_a_broken_link_has_a_fingerprint_too(tree):
    """`on_bad_image: skip` leaves such a file out, and a run that goes on must be able to say what it saw."""
    (tree / "class0/0.png").unlink()
    (tree / "class0/0.png").symlink_to(tree / "nowhere")
    before = scan(tree).fingerprint()
    (tree / "nowhere").write_bytes(b"back again")
    assert scan(tree).fingerprint() != before


def test_paths_in_one_piece_are_the_list_of_them(tmp_path):
    names = ["a.png", "", "ünïcode/日本.jpg", os.fsdecode(b"caf\xe9.png"), "b/c d.png"]
    expected = [tmp_path / name for name in names]
    paths = Paths(expected)
    assert list(paths) == expected
    assert [paths[i] for i in range(-5, 5)] == [expected[i] for i in range(-5, 5)]
    assert paths[np.int64(2)] == paths[torch.tensor(2)] == expected[2]
    for part in (slice(None), slice(1, 4), slice(None, None, 2), slice(-2, None), slice(9, 12)):
        assert list(paths[part]) == expected[part]
    assert len(Paths([])) == 0
    for beyond in (5, -6):
        with pytest.raises(IndexError):
            paths[beyond]
    assert list(pickle.loads(pickle.dumps(paths))) == expected


def test_a_million_paths_are_two_blocks_of_memory():
    """Objects would have a count of references each, which worker processes write to and so copy."""
    paths = Paths(Path(f"/set/train/n{i % 1000:08}/image_{i:07}.jpeg") for i in range(10_000))
    held = [value for value in vars(paths).values() if not isinstance(value, (bytes, np.ndarray))]
    assert held == []
    assert sum(sys.getsizeof(value) for value in vars(paths).values()) < 60 * len(paths)


def test_a_sample_is_known_by_its_file_or_by_its_place():
    labels = np.zeros(4, np.int64)
    assert Samples(np.zeros((4, 2, 2), np.uint8), labels, "test").name_of(3) == "test 3"
    assert Samples([Path("a.png"), Path("b/c.png"), Path("d"), Path("e")], labels, "train").name_of(1) == "b/c.png"
