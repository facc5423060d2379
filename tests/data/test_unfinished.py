"""Two that write the same file at once do not meet."""

from __future__ import annotations

import os
from pathlib import Path

from project.data.unfinished import remove_abandoned, unfinished


def test_names_are_hidden_neighbours_that_differ_within_a_process_and_beside_it():
    path = Path("cache/key.npy")
    names = [unfinished(path) for _ in range(3)]
    assert len(set(names)) == 3
    for name in names:
        assert name.parent == path.parent
        assert name.name.startswith(".key.")
        assert name.suffix == ".tmp"
        assert name.name.split(".")[2] != str(os.getpid())


def test_only_what_is_old_is_taken_to_be_abandoned(tmp_path):
    new, old, other = tmp_path / ".a.1.tmp", tmp_path / ".a.2.tmp", tmp_path / "a.npy"
    for path in (new, old, other):
        path.touch()
    for path in (old, other):
        os.utime(path, (0, 0))
    remove_abandoned(tmp_path)
    assert sorted(tmp_path.iterdir()) == [new, other]
