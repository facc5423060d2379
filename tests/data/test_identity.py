"""Data that changed since a checkpoint was trained: named in one line, and refused where splits mix."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from project.data import Digits, ImageFolder, identity
from project.data.identity import compare, describe, identities
from project.data.samples import Samples
from project.errors import DataError


@pytest.fixture(params=["split", "whole"])
def root(request, image_tree, tmp_path) -> Path:
    """A data set in split directories, or one that is split by fraction."""
    if request.param == "whole":
        return image_tree(tmp_path / "set")
    for split in ("train", "val", "test"):
        for path in image_tree(tmp_path / "set" / split, 6).rglob("*.png"):
            path.write_bytes(path.read_bytes() + split.encode())  # or the same images would be in all three
    return tmp_path / "set"


def load(root: Path, **options: object) -> ImageFolder:
    return ImageFolder(str(root), image_size=8, **options)


def file_of(data: ImageFolder, split: str, place: int = 0) -> Path:
    return data.splits[split].images[place]


VERBS = pytest.mark.parametrize("verb", ["fit", "validate", "test"])


@VERBS
def test_compare_same_data_anywhere_returns_none(root, tmp_path, verb):
    record = describe(load(root), None)
    shutil.copytree(root, tmp_path / "copy")
    for path in (tmp_path / "copy").rglob("*.png"):
        os.utime(path, (1, 1))
    assert compare(record, load(root), verb) is None
    assert compare(record, load(tmp_path / "copy"), verb) is None
    assert compare(None, load(root), verb) is None, "a checkpoint of an older version has no record"


@pytest.mark.parametrize("root", ["split"], indirect=True)
@VERBS
def test_compare_files_added_and_removed_returns_their_numbers(root, verb):
    record = describe(load(root), None)
    for number in range(3):
        shutil.copy(root / "train/a/00.png", root / f"train/b/{90 + number}.png")
    (root / "train/c/03.png").unlink()
    line = compare(record, load(root), verb)
    assert line == (
        "data: since the checkpoint was trained, the train split has 3 more and 1 fewer images (20 now, 18 then)"
    )


@pytest.mark.parametrize("root", ["split"], indirect=True)
def test_compare_labels_contents_and_splits_returns_what_differs(root):
    record = describe(load(root), None)
    (root / "test/a/02.png").rename(root / "test/b/a02.png")
    shutil.rmtree(root / "val")
    line = compare(record, load(root, val_fraction=0.2), "test")
    assert "the test split has 1 more and 1 fewer images (18 now, 18 then)" in line
    assert "the train split has 3 fewer images (15 now, 18 then)" in line
    assert "the val split has none of its images" in line
    (root / "test/b/a02.png").rename(root / "test/a/02.png")
    os.rename(root / "test/a", root / "test/swap")
    os.rename(root / "test/b", root / "test/a")
    os.rename(root / "test/swap", root / "test/b")
    changed = compare(record, load(root, val_fraction=0.2), "test")
    assert "the test split has the same images with other labels, captions or directories" in changed


@pytest.mark.parametrize("root", ["split"], indirect=True)
def test_compare_other_content_of_same_size_is_noticed_in_the_measured_split(root):
    record = describe(load(root), None)
    for number in range(2):
        path = root / f"test/a/0{number}.png"
        path.write_bytes(path.read_bytes()[:-1] + b"?")
    expected = "data: since the checkpoint was trained, the test split has other content in 2 of its files"
    assert compare(record, load(root), "test") == expected
    assert compare(record, load(root), "validate") is None, "a split that is not used is compared by names and sizes"


@pytest.mark.parametrize("root", ["whole"], indirect=True)
@pytest.mark.parametrize("verb", ["validate", "test"])
def test_compare_training_samples_in_a_measured_split_refuses(root, verb):
    before = load(root)
    record = describe(before, None)
    data = load(root, split_seed=1)
    split = "test" if verb == "test" else "val"
    mixed = set(before.splits["train"].images) & set(data.splits[split].images)
    with pytest.raises(DataError) as refused:
        compare(record, data, verb)
    (count, named) = re.match(
        rf"data: (\d+) of the 6 images of the {split} split were in the train split when .*, such as (.*?);",
        str(refused.value),
    ).groups()
    assert int(count) == len(mixed)
    assert Path(named) in mixed


@pytest.mark.parametrize("root", ["split"], indirect=True)
def test_compare_a_file_moved_between_split_directories_is_refused(root):
    record = describe(load(root), None)
    (root / "train/a/05.png").rename(root / "test/c/05.png")
    with pytest.raises(DataError, match="1 of the 18 images of the test split were in the train split"):
        compare(record, load(root), "test")
    assert "the train split has 1 fewer image (17 now, 18 then)" in compare(record, load(root), "validate")


@pytest.mark.parametrize("split", ["val", "test"])
@pytest.mark.parametrize("root", ["split"], indirect=True)
def test_compare_on_resuming_refuses_to_train_on_what_was_measured(root, split):
    record = describe(load(root), None)
    shutil.copy(root / split / "c/01.png", root / "train/b/01.png")
    with pytest.raises(DataError, match=f"1 of the 18 images of the train split were in the {split} split"):
        compare(record, load(root), "fit")
    assert compare(record, load(root), "test")


def test_compare_samples_that_splits_shared_from_the_beginning_passes(image_tree, tmp_path):
    for split in ("train", "val", "test"):
        image_tree(tmp_path / split, 4)
    record = describe(load(tmp_path), None)
    for verb in ("fit", "validate", "test"):
        assert compare(record, load(tmp_path), verb) is None


@pytest.mark.parametrize("root", ["whole"], indirect=True)
@VERBS
def test_compare_another_data_set_with_the_same_names_and_sizes_passes(root, tmp_path, verb):
    record = describe(load(root), None)
    for path in sorted(root.rglob("*.png"))[:-4]:  # other numbers, or the two would be split alike
        other = tmp_path / "other" / path.relative_to(root)
        other.parent.mkdir(parents=True, exist_ok=True)
        content = bytearray(path.read_bytes())
        content[-20] ^= 1
        other.write_bytes(content)
    expected = "data: another data set than the one that the checkpoint was trained on"
    assert compare(record, load(tmp_path / "other", split_seed=3), verb) == expected


@pytest.mark.parametrize("root", ["split"], indirect=True)
def test_describe_keeps_what_was_trained_on_before_the_data_changed(root, tmp_path):
    first = describe(load(root), None)
    assert first.keys() == {"train", "val", "test"}
    shutil.move(root / "train/a/05.png", tmp_path / "05.png")
    second = describe(load(root), first)
    third = describe(load(root), second)
    assert third["earlier"]["samples"] == 18
    shutil.move(tmp_path / "05.png", root / "test/b/05.png")
    for record in (second, third):
        with pytest.raises(DataError, match="1 of the 18 images of the test split"):
            compare(record, load(root), "test")
    assert "earlier" not in describe(load(root), describe(load(root), None))


def test_added_files_in_a_new_directory_move_one_sample_of_each_split_at_most(image_tree, tmp_path):
    """The first file beside the class directories' common one had changed every key."""
    from project.data.captions.table import CaptionTable

    image_tree(tmp_path / "images")
    rows = [f"images/{path.parent.name}/{path.name},a thing" for path in sorted((tmp_path / "images").rglob("*.png"))]

    def splits() -> dict[str, set[Path]]:
        (tmp_path / "table.csv").write_text("\n".join(["path,caption", *rows]))
        data = CaptionTable(str(tmp_path / "table.csv"))
        return {split: set(samples.images) for split, samples in data.splits.items()}

    before = splits()
    shutil.copy(tmp_path / "images/a/00.png", tmp_path / "beside.png")
    rows.append("beside.png,another thing")
    after = splits()
    assert sum(map(len, after.values())) == 61
    for split in before:
        assert len(before[split] ^ after[split]) <= 2, split


def test_identities_in_memory_are_of_pixels():
    images = np.arange(48, dtype=np.uint8).reshape(3, 4, 4)
    ids, places = identities(Samples(images, np.arange(3), "train"))
    again, reversed_places = identities(Samples(images[::-1], np.arange(3), "test"))
    np.testing.assert_array_equal(ids, again)
    np.testing.assert_array_equal(places, 2 - reversed_places)
    assert len(np.intersect1d(ids, identities(Samples(images + 1, np.arange(3), "train"))[0])) == 0
    data = Digits()
    assert compare(describe(data, None), Digits(), "fit") is None
    with pytest.raises(DataError, match=r"images of the val split were in the train split .* such as val "):
        compare(describe(data, None), Digits(split_seed=1), "validate")


def test_sketches_of_large_sets_hold_the_same_sample_of_both(root, monkeypatch):
    record = describe(load(root), None)
    monkeypatch.setattr(identity, "_MOST", 9)
    few = describe(load(root), None)
    for split in few:
        whole, part = record[split]["sketch"], few[split]["sketch"]
        assert torch.equal(part, whole[:9])
        assert few[split]["samples"] == record[split]["samples"]
    assert compare(few, load(root), "fit") is None
    for path in sorted(root.rglob("*.png")):
        path.rename(path.with_name(f"new {path.name}"))
    assert compare(few, load(root), "test") == "data: another data set than the one that the checkpoint was trained on"


@pytest.mark.parametrize("root", ["split"], indirect=True)
def test_compare_mixed_sets_larger_than_the_sketch_returns_a_lower_bound(root, monkeypatch):
    monkeypatch.setattr(identity, "_MOST", 5)
    record = describe(load(root), None)
    (root / "train").rename(root / "was train")
    (root / "val").rename(root / "train")
    (root / "was train").rename(root / "val")
    with pytest.raises(DataError, match="data: at least 3 of the 18 images of the val split were in the train split"):
        compare(record, load(root), "validate")


def test_identities_of_files_that_are_no_files_do_not_wait(tmp_path):
    os.mkfifo(tmp_path / "fifo.png")
    Image.new("RGB", (4, 4)).save(tmp_path / "b.png")
    paths = [tmp_path / "fifo.png", tmp_path / "b.png", tmp_path / "gone.png", Path("/dev/zero")]
    assert len(identities(Samples(paths, np.zeros(4, np.int64), "train"))[0]) == 4


GOOD = {"samples": 3, "fingerprint": "ab", "sketch": torch.arange(3)}
MALFORMED = {
    "text": "train",
    "list": [GOOD],
    "unknown split": {"training": GOOD},
    "a key too many": {"train": GOOD | {"more": 1}},
    "no sketch": {"train": {"samples": 3, "fingerprint": "ab"}},
    "negative": {"train": GOOD | {"samples": -1}},
    "endless": {"train": GOOD | {"samples": 10**5000}},
    "fraction": {"train": GOOD | {"samples": 0.5}},
    "bool": {"train": GOOD | {"samples": True}},
    "number": {"train": GOOD | {"fingerprint": 1}},
    "floats": {"train": GOOD | {"sketch": torch.rand(3)}},
    "matrix": {"train": GOOD | {"sketch": torch.zeros(3, 3, dtype=torch.int64)}},
    "sparse": {"train": GOOD | {"sketch": torch.arange(3).to_sparse()}},
    "meta": {"train": GOOD | {"sketch": torch.arange(3, device="meta")}},
    "too long": {"train": GOOD | {"sketch": torch.zeros(1, dtype=torch.int64).expand(2**50)}},
    "array": {"train": GOOD | {"sketch": [1, 2]}},
}


@pytest.mark.parametrize("kind", MALFORMED)
def test_a_malformed_record_is_ignored_with_one_line(kind, root):
    line = compare(MALFORMED[kind], load(root), "test")
    assert line.startswith("data: the checkpoint's record of its data is malformed and ignored")
    assert describe(load(root), MALFORMED[kind]).keys() == {"train", "val", "test"}


@pytest.mark.parametrize("root", ["split"], indirect=True)
def test_a_record_of_nothing_or_of_some_splits_is_read(root):
    assert compare({}, load(root), "test") is None
    assert "the train split has none of its images" in compare({"train": GOOD}, load(root), "fit")
    empty = {"train": GOOD | {"sketch": torch.arange(0), "samples": 0}}
    assert "the train split has 18 more images (18 now, 0 then)" in compare(empty, load(root), "fit")
