"""The decoded images of a split: right, cached once, and never half there."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from project.data.images import load_square
from project.data.samples import Samples
from project.data.store import Store, build_store, default_cache_dir
from project.errors import DataError
from project.files import open_regular

SIZE = 12


@pytest.fixture
def samples(tmp_path) -> Samples:
    """Six noisy images of several sizes, labelled 0, 1, 2, 0, 1, 2."""
    random = np.random.default_rng(0)
    paths = [tmp_path / "set" / f"{i}.png" for i in range(6)]
    paths[0].parent.mkdir()
    for i, path in enumerate(paths):
        Image.fromarray(random.integers(0, 256, (10 + i, 20 - i, 3), np.uint8)).save(path)
    return Samples(paths, np.arange(6) % 3, "train")


@pytest.fixture
def cache(tmp_path) -> Path:
    return tmp_path / "decoded"


def assert_holds(store: Store, samples: Samples, indices: list[int]) -> None:
    expected = np.stack([load_square(samples.images[i], SIZE) for i in indices])
    assert store.images.dtype == torch.uint8
    np.testing.assert_array_equal(store.images.numpy(), expected)
    assert store.labels.tolist() == samples.labels[indices].tolist()


def images_in(cache: Path) -> list[Path]:
    return sorted(cache.glob("images-*.cache"))


@pytest.fixture
def decoded(monkeypatch) -> list[str]:
    """The names of the files that are decoded from here on."""
    names: list[str] = []
    note = lambda path, *more: (names.append(path.name), load_square(path, *more))[1]  # noqa: E731
    monkeypatch.setattr("project.data.store.load_square", note)
    return names


def test_files_are_decoded_and_written_under_their_final_names_only(samples, cache):
    assert_holds(build_store(samples, SIZE, cache, False), samples, list(range(6)))
    assert list(cache.iterdir()) == images_in(cache)
    assert len(images_in(cache)) == 1


def test_what_a_killed_run_left_half_made_goes_with_the_next_decode_a_day_later(samples, cache):
    cache.mkdir()
    left, fresh = cache / ".0a1b.123.tmp", cache / ".2c3d.456.tmp"
    for path, hours in ((left, 25), (fresh, 1)):
        path.write_bytes(b"half")
        os.utime(path, (time.time() - hours * 3600,) * 2)
    build_store(samples, SIZE, cache, False)
    assert not left.exists()
    assert fresh.read_bytes() == b"half"  # perhaps another run is at it


def test_the_second_time_nothing_is_decoded(samples, cache, decoded):
    first = build_store(samples, SIZE, cache, False)
    assert sorted(decoded) == [f"{number}.png" for number in range(6)]
    second = build_store(samples, SIZE, cache, False)
    assert torch.equal(second.images, first.images)
    assert len(decoded) == 6
    assert len(images_in(cache)) == 1


def test_store_and_file_are_independent_of_each_other(samples, cache):
    build_store(samples, SIZE, cache, False).images.zero_()
    store = build_store(samples, SIZE, cache, False)
    assert_holds(store, samples, list(range(6)))
    (file,) = images_in(cache)
    file.write_bytes(bytes(file.stat().st_size))
    os.truncate(file, 100)  # of a mapped file, the next access would be a SIGBUS
    assert_holds(store, samples, list(range(6)))


def test_labels_are_not_part_of_the_cache(samples, cache, decoded):
    build_store(samples, SIZE, cache, False)
    relabelled = Samples(samples.images, samples.labels[::-1].copy(), "val")
    assert_holds(build_store(relabelled, SIZE, cache, False), relabelled, list(range(6)))
    assert len(decoded) == 6


def touch_later(samples: Samples) -> Samples:
    status = samples.images[2].stat()
    os.utime(samples.images[2], ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    return samples


def replace_by_another(samples: Samples) -> Samples:
    status = samples.images[2].stat()
    Image.new("RGB", (30, 40), "red").save(samples.images[2])
    os.utime(samples.images[2], ns=(status.st_atime_ns, status.st_mtime_ns))
    return samples


def replace_at_same_size_and_time(samples: Samples) -> Samples:
    """By the image of another file, padded to the same size."""
    path, status = samples.images[2], samples.images[2].stat()
    other = samples.images[0].read_bytes()
    path.with_name("new").write_bytes(other + bytes(status.st_size - len(other)))
    path.with_name("new").replace(path)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (status.st_size, status.st_mtime_ns)
    return samples


@pytest.mark.parametrize(
    "change",
    [
        touch_later,
        replace_by_another,
        replace_at_same_size_and_time,
        lambda samples: samples.take(np.array([1, 0, 2, 3, 4, 5]), "train"),
    ],
    ids=["time", "size", "content", "order"],
)
def test_a_changed_source_is_decoded_again(change, samples, cache):
    build_store(samples, SIZE, cache, False)
    changed = change(samples)
    assert_holds(build_store(changed, SIZE, cache, False), changed, list(range(6)))
    assert len(images_in(cache)) == 2


def test_another_image_size_is_another_file(samples, cache):
    build_store(samples, SIZE, cache, False)
    assert build_store(samples, 7, cache, False).images.shape == (6, 7, 7, 3)
    assert len(images_in(cache)) == 2


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_bad_file_is_named_with_its_split_and_nothing_is_left_behind(split, samples, cache):
    os.truncate(samples.images[3], 40)
    with pytest.raises(DataError) as caught:
        build_store(Samples(samples.images, samples.labels, split), SIZE, cache, False)
    assert str(caught.value).startswith(f"{split} split: {samples.images[3]}: cannot be read")
    assert "\n" not in str(caught.value)
    assert list(cache.iterdir()) == []


def test_skipped_files_leave_the_others_with_their_labels(samples, cache):
    slow, fast = samples.images[1], samples.images[4]
    Image.fromarray(np.random.default_rng(1).integers(0, 256, (1500, 1500, 3), np.uint8)).save(slow)
    os.truncate(slow, slow.stat().st_size - 100)
    fast.write_bytes(b"")
    stores = [build_store(samples, SIZE, cache, True) for _ in range(2)]
    for store in stores:  # decoded, and from the cache
        assert_holds(store, samples, [0, 2, 3, 5])
        assert [line.split(": ")[0] for line in store.skipped] == [str(slow), str(fast)], "not in the files' order"
    with pytest.raises(DataError):
        build_store(samples, SIZE, cache, False)


def test_what_could_not_be_read_for_a_while_comes_back(samples, cache, monkeypatch):
    """A permission changes neither the size nor the time of a file."""
    forbidden = str(samples.images[2])

    def open_others(path):
        if str(path) == forbidden:
            raise PermissionError(errno.EACCES, "Permission denied", forbidden)
        return open_regular(path)

    with monkeypatch.context() as patch:
        patch.setattr("project.data.images.open_regular", open_others)
        store = build_store(samples, SIZE, cache, True)
    assert_holds(store, samples, [0, 1, 3, 4, 5])
    assert "Permission denied" in store.skipped[0]
    again = build_store(samples, SIZE, cache, True)
    assert_holds(again, samples, list(range(6)))
    assert again.skipped == []
    assert len(images_in(cache)) == 1


HEADER, ROW = 4096, SIZE * SIZE * 3 + 4


@pytest.mark.parametrize(
    ("first", "damage", "again"),
    [
        (HEADER + 2 * ROW + 99, b"\1", ["2.png"]),
        (HEADER + 2 * ROW + 99, bytes(2 * ROW), ["2.png", "3.png", "4.png"]),
        (20, b"\1", [f"{number}.png" for number in range(6)]),
    ],
    ids=["a byte", "a zeroed block", "the header"],
)
def test_damaged_cache_is_noticed_and_decoded_again(samples, cache, capsys, decoded, first, damage, again):
    build_store(samples, SIZE, cache, False)
    (file,) = images_in(cache)
    content = bytearray(file.read_bytes())
    content[first : first + len(damage)] = damage
    file.write_bytes(content)
    del decoded[:]
    for _ in range(2):
        assert_holds(build_store(samples, SIZE, cache, False), samples, list(range(6)))
    assert sorted(decoded) == again
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(f"decoded images: {file} is ")


def test_truncated_cache_is_decoded_again(samples, cache):
    build_store(samples, SIZE, cache, False)
    (file,) = images_in(cache)
    os.truncate(file, file.stat().st_size // 2)
    assert_holds(build_store(samples, SIZE, cache, False), samples, list(range(6)))


def test_nothing_but_bad_files_is_an_error_even_if_they_may_be_skipped(samples, cache):
    for path in samples.images:
        path.write_bytes(b"")
    with pytest.raises(DataError, match=r"^train split: none of its 6 images can be read; first: .*0\.png"):
        build_store(samples, SIZE, cache, True)
    assert list(cache.iterdir()) == []


def test_a_broken_link_is_a_bad_file_like_any_other(samples, cache):
    samples.images[3].unlink()
    samples.images[3].symlink_to("nowhere")
    assert_holds(build_store(samples, SIZE, cache, True), samples, [0, 1, 2, 4, 5])
    with pytest.raises(DataError, match=r"^train split: .*3\.png: there is no such file"):
        build_store(samples, SIZE, cache, False)


def test_a_name_that_is_no_text_can_be_cached(samples, cache):
    odd = samples.images[0].with_name(os.fsdecode(b"caf\xe9.png"))
    samples.images[0].rename(odd)
    samples = Samples([odd, *samples.images[1:]], samples.labels, "train")
    assert_holds(build_store(samples, SIZE, cache, False), samples, list(range(6)))


@pytest.mark.parametrize("below", ["", "deeper"], ids=["a file in its place", "a file above it"])
def test_a_cache_that_cannot_be_written_costs_only_time(below, samples, cache, capsys):
    cache.write_text("in the way")
    samples.images[2].write_bytes(b"")
    folder = cache / below
    store = build_store(samples, SIZE, folder, True)
    assert_holds(store, samples, [0, 1, 3, 4, 5])
    assert len(store.skipped) == 1
    assert capsys.readouterr().out.startswith(f"decoded images are not kept: {folder} cannot be written (")
    assert cache.read_text() == "in the way"
    with pytest.raises(DataError, match=r"^train split: .*2\.png"):
        build_store(samples, SIZE, folder, False)


@pytest.mark.parametrize("channels", [(), (3,)], ids=["grey", "RGB"])
def test_images_in_memory_follow_the_same_rule(channels, tmp_path, cache):
    images = np.random.default_rng(0).integers(0, 256, (4, 8, 10, *channels), np.uint8)
    paths = [tmp_path / f"{i}.png" for i in range(4)]
    for path, image in zip(paths, images, strict=True):
        Image.fromarray(image).save(path)
    labels = np.array([3, 1, 2, 0])
    assert_holds(
        build_store(Samples(images, labels, "train"), SIZE, cache, False), Samples(paths, labels, "train"), [*range(4)]
    )
    assert not cache.exists()


def test_the_cache_lies_where_the_environment_says(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "somewhere"))
    assert default_cache_dir() == tmp_path / "somewhere/project-images"
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert default_cache_dir() == tmp_path / "home/.cache/project-images"


def test_another_value_range_is_decoded_anew(tmp_path, cache):
    path = tmp_path / "deep.tif"
    values = np.arange(SIZE * SIZE, dtype=np.uint16).reshape(SIZE, SIZE)
    Image.fromarray(values).save(path)
    for value_range, expected in (((0, 511), values >> 1), ((0, 65535), values >> 8), ((0, 255), values)):
        store = build_store(
            Samples([path], np.zeros(1, np.int64), "train", value_range=value_range), SIZE, cache, False
        )
        np.testing.assert_array_equal(store.images[0, ..., 0], expected)
    assert len(images_in(cache)) == 3
