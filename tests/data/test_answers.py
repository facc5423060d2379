"""Answers are found as they were given, whoever wrote them and however it ended."""

from __future__ import annotations

import multiprocessing
import os
import time
from pathlib import Path

import numpy as np
import pytest

from project.data.answers import AnswerFile, file_bytes

SAMPLES, VIEWS, WIDTH = 40, 6, 5
CELLS = np.arange(SAMPLES * VIEWS)


def answers_to(cells: np.ndarray) -> np.ndarray:
    """(M, W) float16, of each cell its own."""
    return (cells[:, None] * 0.25 - np.arange(WIDTH)).astype(np.float16)


def opened(path: Path, key: str = "key", samples: int = SAMPLES, views: int = VIEWS, width: int = WIDTH) -> AnswerFile:
    return AnswerFile(path / "x.answers", key, samples, views, width)


def test_answers_are_found_as_they_were_given_and_no_others(tmp_path):
    file = opened(tmp_path / "made")
    some = np.array([7, 0, 239, 100])
    file.add(some, answers_to(some))
    for reader in (file, opened(tmp_path / "made")):
        answers, found = reader.find(CELLS)
        assert np.flatnonzero(found).tolist() == [0, 7, 100, 239]
        np.testing.assert_array_equal(answers[found], answers_to(CELLS[found]))
        assert answers.dtype == np.float16


def test_zeros_and_what_is_no_number_are_answers_like_others(tmp_path):
    file, odd = opened(tmp_path), np.zeros((2, WIDTH), np.float16)
    odd[1] = [np.nan, np.inf, -np.inf, -0.0, 6e-8]
    file.add(np.array([3, 4]), odd)
    answers, found = file.find(np.array([3, 4, 5]))
    assert found.tolist() == [True, True, False]
    np.testing.assert_array_equal(answers[:2].view(np.uint16), odd.view(np.uint16))


def test_a_file_is_sparse_and_as_long_as_it_says(tmp_path):
    opened(tmp_path, samples=50_000, views=162, width=100)
    status = (tmp_path / "x.answers").stat()
    assert status.st_size == 4096 + file_bytes(50_000, 162, 100) > 1.6e9
    assert status.st_blocks * 512 < 1e5
    assert [path.name for path in tmp_path.iterdir()] == ["x.answers"]


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
def test_a_file_that_is_not_whole_is_made_anew(spoil, tmp_path):
    opened(tmp_path).add(CELLS, answers_to(CELLS))
    spoil(tmp_path / "x.answers")
    assert not opened(tmp_path).find(CELLS)[1].any()
    opened(tmp_path).add(CELLS[:1], answers_to(CELLS[:1]))
    assert opened(tmp_path).find(CELLS)[1].sum() == 1


@pytest.mark.parametrize("other", [{"key": "other"}, {"samples": 20, "views": 12}, {"samples": 41}])
def test_a_file_of_another_key_or_size_is_made_anew(other, tmp_path):
    opened(tmp_path).add(CELLS, answers_to(CELLS))
    assert not opened(tmp_path, **other).find(CELLS)[1].any()


def test_an_answer_whose_writing_was_cut_off_is_none(tmp_path):
    opened(tmp_path).add(CELLS, answers_to(CELLS))
    path, size = tmp_path / "x.answers", (WIDTH + 2) * 2
    whole = path.read_bytes()
    for written in range(size):
        content = bytearray(whole)
        start = 4096 + 7 * size
        content[start + written : start + size] = bytes(size - written)
        path.write_bytes(content)
        answers, found = opened(tmp_path).find(CELLS)
        # nothing but zeros may have been left out
        assert found[7] == (bytes(content) == whole)
        np.testing.assert_array_equal(answers[found], answers_to(CELLS[found]))
        assert found.sum() >= len(CELLS) - 1


def test_any_changed_bit_is_noticed(tmp_path):
    opened(tmp_path).add(CELLS, answers_to(CELLS))
    path, size = tmp_path / "x.answers", (WIDTH + 2) * 2
    whole = path.read_bytes()
    for bit in range(8 * WIDTH * 2):
        content = bytearray(whole)
        content[4096 + 7 * size + bit // 8] ^= 1 << bit % 8
        path.write_bytes(content)
        assert np.flatnonzero(~opened(tmp_path).find(CELLS)[1]).tolist() == [7]


def write_without_end(folder: Path, seed: int) -> None:
    file, random = opened(folder), np.random.default_rng(seed)
    while True:
        cells = random.choice(CELLS, 8)
        file.add(cells, answers_to(cells))


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_processes_that_write_at_once_and_are_killed_leave_no_wrong_answer(tmp_path):
    context = multiprocessing.get_context("fork")  # without importing everything again
    writers = [context.Process(target=write_without_end, args=(tmp_path, seed), daemon=True) for seed in range(2)]
    for writer in writers:
        writer.start()
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not (tmp_path / "x.answers").exists():
        time.sleep(0.05)
    reader, seen = opened(tmp_path), np.zeros(0)
    while time.monotonic() < deadline and seen.sum() < 200:
        answers, seen = reader.find(CELLS)
        np.testing.assert_array_equal(answers[seen], answers_to(CELLS[seen]))
    for writer in writers:
        writer.kill()
        writer.join()
    answers, found = opened(tmp_path).find(CELLS)
    assert found.sum() >= 200
    np.testing.assert_array_equal(answers[found], answers_to(CELLS[found]))


def add_share(folder: Path, rank: int) -> None:
    opened(folder).add(CELLS[rank::3], answers_to(CELLS[rank::3]))


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_processes_that_begin_at_once_write_into_one_file(tmp_path):
    context = multiprocessing.get_context("fork")  # without importing everything again
    writers = [context.Process(target=add_share, args=(tmp_path, rank)) for rank in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    assert opened(tmp_path).find(CELLS)[1].all()
