"""Cached rows: found as they were written and only then, whoever wrote them and whatever happened to the file."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from project.data.cache import CachedRows, cache_key
from project.data.samples import Samples
from project.errors import DataError

COUNT, WIDTH = 240, 5
INDICES = np.arange(COUNT)
HEADER, STRIDE = 4096, WIDTH * 2 + 4


def rows_at(indices: np.ndarray) -> np.ndarray:
    """(M, W) float16, at each index its own."""
    return (indices[:, None] * 0.25 - np.arange(WIDTH)).astype(np.float16)


def opened(directory: Path, name: str = "x.cache", count: int = COUNT, width: int = WIDTH) -> CachedRows:
    rows = CachedRows(directory / name, count, (width,), np.float16, "numbers", sparse=True)
    rows.create()
    return rows


def filled(directory: Path) -> Path:
    rows = opened(directory)
    rows.write(INDICES, rows_at(INDICES))
    return rows.path


def test_rows_are_found_as_they_were_written_and_no_others(tmp_path):
    rows = opened(tmp_path / "made")
    some = np.array([7, 0, 239, 100, 101, 102])
    rows.write(some, rows_at(some))
    for reader in (rows, opened(tmp_path / "made")):
        values, found = reader.read(INDICES)
        assert np.flatnonzero(found).tolist() == [0, 7, 100, 101, 102, 239]
        np.testing.assert_array_equal(values[found], rows_at(INDICES[found]))
        assert values.dtype == np.float16
        values, found = reader.read(np.array([100, 101, 5, 7, 7]))
        assert found.tolist() == [True, True, False, True, True]
        np.testing.assert_array_equal(values[[0, 1, 3, 4]], rows_at(np.array([100, 101, 7, 7])))
        assert not reader.is_complete()


def test_rows_of_zeros_and_nan_are_found_like_others(tmp_path):
    rows, odd = opened(tmp_path), np.zeros((2, WIDTH), np.float16)
    odd[1] = [np.nan, np.inf, -np.inf, -0.0, 6e-8]
    rows.write(np.array([3, 4]), odd)
    values, found = rows.read(np.array([3, 4, 5]))
    assert found.tolist() == [True, True, False]
    np.testing.assert_array_equal(values[:2].view(np.uint16), odd.view(np.uint16))


def test_sparse_file_takes_no_space_before_it_is_written(tmp_path):
    rows = opened(tmp_path, count=50_000 * 162, width=100)
    status = rows.path.stat()
    assert status.st_size == HEADER + rows.num_bytes > 1.6e9
    assert status.st_blocks * 512 < 1e5
    assert status.st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["x.cache"]


def test_complete_computes_only_what_is_absent(tmp_path):
    asked: list[list[int]] = []

    def compute(values: np.ndarray, missing: np.ndarray) -> np.ndarray:
        asked.append(missing.tolist())
        values[missing] = rows_at(missing)
        return missing[missing != 9]

    rows = opened(tmp_path)
    rows.write(INDICES[50:], rows_at(INDICES[50:]))
    for _ in range(2):
        values, found = opened(tmp_path).complete(compute)
        assert np.flatnonzero(~found).tolist() == [9]
        np.testing.assert_array_equal(values[found], rows_at(INDICES[found]))
    assert asked == [list(range(50)), [9]]


# ---- damage


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: os.truncate(path, path.stat().st_size - 1),
        lambda path: os.truncate(path, 100),
        lambda path: os.truncate(path, 0),
        lambda path: path.write_bytes(b"x" * path.stat().st_size),
        lambda path: path.write_bytes(path.read_bytes() + b"x"),
    ],
    ids=["one byte short", "in the header", "empty", "foreign", "too long"],
)
def test_file_that_is_not_whole_is_made_anew(spoil, tmp_path, capsys):
    spoil(filled(tmp_path))
    assert not opened(tmp_path).read(INDICES)[1].any()
    line = f"numbers: {tmp_path / 'x.cache'} is not used (it is damaged, or something else); they are computed again\n"
    assert capsys.readouterr().out == line
    opened(tmp_path).write(INDICES[:1], rows_at(INDICES[:1]))
    assert opened(tmp_path).read(INDICES)[1].sum() == 1


@pytest.mark.parametrize("other", [{"count": 120, "width": 10}, {"count": 241}])
def test_file_of_another_shape_is_made_anew(other, tmp_path):
    filled(tmp_path)
    rows = opened(tmp_path, **other)
    assert not rows.read(np.arange(rows.shape[0]))[1].any()


def test_file_under_the_name_of_another_is_made_anew(tmp_path):
    filled(tmp_path).rename(tmp_path / "y.cache")
    assert not opened(tmp_path, "y.cache").read(INDICES)[1].any()


def test_row_whose_writing_was_cut_off_is_absent(tmp_path):
    path = filled(tmp_path)
    whole = path.read_bytes()
    for written in range(STRIDE):
        content = bytearray(whole)
        start = HEADER + 7 * STRIDE
        content[start + written : start + STRIDE] = bytes(STRIDE - written)
        path.write_bytes(content)
        values, found = opened(tmp_path).read(INDICES)
        # nothing but zeros may have been left out
        assert found[7] == (bytes(content) == whole)
        np.testing.assert_array_equal(values[found], rows_at(INDICES[found]))
        assert found.sum() >= COUNT - 1


def test_any_changed_bit_is_noticed(tmp_path, capsys):
    path = filled(tmp_path)
    whole = path.read_bytes()
    for bit in range(8 * STRIDE):
        content = bytearray(whole)
        content[HEADER + 7 * STRIDE + bit // 8] ^= 1 << bit % 8
        path.write_bytes(content)
        assert np.flatnonzero(~opened(tmp_path).read(INDICES)[1]).tolist() == [7]
    assert capsys.readouterr().out == f"numbers: {path} is damaged; what is wrong there is computed again\n"


def test_row_that_lies_where_another_belongs_is_noticed(tmp_path):
    path = filled(tmp_path)
    content = bytearray(path.read_bytes())
    content[HEADER + STRIDE : HEADER + 2 * STRIDE] = content[HEADER : HEADER + STRIDE]
    path.write_bytes(content)
    assert np.flatnonzero(~opened(tmp_path).read(INDICES)[1]).tolist() == [1]


def test_file_truncated_while_it_is_open_ends_early(tmp_path):
    path = filled(tmp_path)
    rows = opened(tmp_path)
    assert rows.is_complete()
    os.truncate(path, HEADER + 100 * STRIDE + 3)
    assert rows.read(INDICES)[1].sum() == 100
    np.testing.assert_array_equal(rows.get(INDICES[:100]), rows_at(INDICES[:100]))
    with pytest.raises(DataError, match=r"x\.cache: damaged or cut off while it was in use; run the command again"):
        rows.get(INDICES)
    rows.write(INDICES[200:], rows_at(INDICES[200:]))
    assert rows.read(INDICES)[1].sum() == 140


# ---- other users


def given_away(path: Path) -> None:
    os.chown(path, 12345, -1)


def replaced_by_link(path: Path) -> None:
    path.rename(path.with_name("secret"))
    path.symlink_to("secret")


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")
DISTRUSTED = [
    pytest.param(given_away, marks=needs_root, id="of another user"),
    pytest.param(lambda path: path.chmod(0o620), id="writable by a group"),
    pytest.param(lambda path: path.chmod(0o602), id="writable by all"),
    pytest.param(replaced_by_link, id="a link"),
]


@pytest.mark.parametrize("change", DISTRUSTED)
def test_file_that_others_can_write_is_replaced_and_not_read(change, tmp_path, capsys):
    path = filled(tmp_path)
    change(path)
    content = path.read_bytes()
    target = path.resolve()
    rows = opened(tmp_path)
    assert not rows.read(INDICES)[1].any()
    rows.write(INDICES[:3], rows_at(INDICES[:3]))
    assert f"{path} is not used (" in capsys.readouterr().out
    assert opened(tmp_path).read(INDICES)[1].sum() == 3
    assert path.is_file()
    assert not path.is_symlink()
    assert path.stat().st_uid == os.geteuid()
    if target != path:
        assert target.read_bytes() == content


def test_fifo_in_the_place_of_a_file_is_replaced_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "x.cache")
    rows = opened(tmp_path)
    rows.write(INDICES, rows_at(INDICES))
    assert opened(tmp_path).is_complete()


def test_new_directory_is_private(tmp_path):
    opened(tmp_path / "above" / "cache")
    assert (tmp_path / "above" / "cache").stat().st_mode & 0o777 == 0o700


@needs_root
def test_directory_of_another_user_gets_a_private_one_inside(tmp_path, capsys):
    shared = tmp_path / "shared"
    path = filled(shared)
    given_away(shared)
    rows = opened(shared)
    own = shared / f"user-{os.geteuid()}"
    assert rows.path == own / "x.cache"
    assert own.stat().st_mode & 0o777 == 0o700
    assert not rows.read(INDICES)[1].any()
    rows.write(INDICES, rows_at(INDICES))
    assert opened(shared).is_complete()
    assert capsys.readouterr().out == f"data.cache_dir: {shared} belongs to another user; {own} is used in its place\n"
    assert path.is_file()


@needs_root
@pytest.mark.parametrize("obstacle", [given_away, replaced_by_link])
def test_private_directory_that_is_not_private_is_done_without(obstacle, tmp_path, capsys):
    shared = tmp_path / "shared"
    own = shared / f"user-{os.geteuid()}"
    own.mkdir(parents=True)
    obstacle(own)
    given_away(shared)
    rows = opened(shared)
    rows.write(INDICES, rows_at(INDICES))
    assert not rows.read(INDICES)[1].any()
    reason = f"{own.name} in it belongs to another user"
    assert capsys.readouterr().out == f"numbers are not kept: {shared} cannot be written ({reason})\n"
    assert list(own.iterdir()) == []


# ---- what cannot be written


def test_directory_that_cannot_be_made_is_done_without_in_one_line(tmp_path, capsys):
    (tmp_path / "file").write_text("in the way")
    for _ in range(2):
        rows = opened(tmp_path / "file")
        rows.write(INDICES, rows_at(INDICES))
        assert rows.problem == "File exists"
    line = f"numbers are not kept: {tmp_path / 'file'} cannot be written (File exists)\n"
    assert capsys.readouterr().out == line


def test_full_disk_is_noticed_before_anything_is_computed(tmp_path, capsys, small_files_only):
    rows = CachedRows(tmp_path / "x.cache", COUNT, (WIDTH,), np.float16, "numbers")
    with small_files_only(HEADER + 100):
        rows.create()
    assert rows.problem == "File too large"
    assert list(tmp_path.iterdir()) == []
    assert capsys.readouterr().out.count("\n") == 1


def test_disk_that_fills_up_keeps_what_was_written(tmp_path, capsys, small_files_only):
    rows = opened(tmp_path)
    with small_files_only(HEADER + 3 * STRIDE + 5):
        for index in range(6):
            rows.write(INDICES[index : index + 1], rows_at(INDICES[index : index + 1]))
    assert opened(tmp_path).read(INDICES)[1].sum() == 3
    line = f"numbers are not kept: {tmp_path} cannot be written (File too large)"
    assert capsys.readouterr().out.splitlines()[0] == line


# ---- keys


@pytest.fixture
def samples(tmp_path) -> Samples:
    paths = [tmp_path / f"{number}.png" for number in range(3)]
    for path in paths:
        path.write_bytes(b"pixels")
    return Samples(paths, np.zeros(3, np.int64), "train")


def overwrite(path: Path) -> None:
    path.write_bytes(b"others")


def replace(path: Path) -> None:
    path.with_name("new").write_bytes(b"others")
    path.with_name("new").replace(path)


def enlarge(path: Path) -> None:
    path.write_bytes(b"pixels!")


@pytest.mark.parametrize("change", [overwrite, replace, enlarge, Path.unlink])
def test_key_changes_with_a_file_whatever_time_it_is_given(change: Callable[[Path], None], samples):
    before, path = cache_key("facts", samples), samples.images[1]
    status = path.stat()
    assert cache_key("facts", samples) == before
    change(path)
    while path.exists():  # a file system's clock may be coarse
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        if path.stat().st_ctime_ns != status.st_ctime_ns:
            break
    assert cache_key("facts", samples) != before


def test_key_changes_with_facts_order_and_pixels(samples):
    pixels = np.zeros((3, 2, 2), np.uint8)
    keys = [
        cache_key("facts", samples),
        cache_key("other facts", samples),
        cache_key("facts", samples.take(np.array([1, 0, 2]), "train")),
        cache_key("facts"),
        cache_key("facts", Samples(pixels, samples.labels, "train")),
        cache_key("facts", Samples(pixels + np.uint8(1), samples.labels, "train")),
    ]
    assert len(set(keys)) == len(keys)


# ---- several processes


def write_without_end(folder: Path, seed: int) -> None:
    rows, random = opened(folder), np.random.default_rng(seed)
    while True:
        indices = random.choice(INDICES, 8)
        rows.write(indices, rows_at(indices))


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_processes_that_write_at_once_and_are_killed_leave_no_wrong_row(tmp_path):
    context = multiprocessing.get_context("fork")  # without importing everything again
    writers = [context.Process(target=write_without_end, args=(tmp_path, seed), daemon=True) for seed in range(2)]
    for writer in writers:
        writer.start()
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not (tmp_path / "x.cache").exists():
        time.sleep(0.05)
    reader, seen = opened(tmp_path), np.zeros(0)
    while time.monotonic() < deadline and seen.sum() < 200:
        values, seen = reader.read(INDICES)
        np.testing.assert_array_equal(values[seen], rows_at(INDICES[seen]))
    for writer in writers:
        writer.kill()
        writer.join()
    values, found = opened(tmp_path).read(INDICES)
    assert found.sum() >= 200
    np.testing.assert_array_equal(values[found], rows_at(INDICES[found]))


def add_share(folder: Path, rank: int) -> None:
    opened(folder).write(INDICES[rank::3], rows_at(INDICES[rank::3]))


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_processes_that_begin_at_once_write_into_one_file(tmp_path):
    context = multiprocessing.get_context("fork")  # without importing everything again
    writers = [context.Process(target=add_share, args=(tmp_path, rank)) for rank in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    assert opened(tmp_path).is_complete()
