"""Two that write the same file at once do not meet."""

from __future__ import annotations

import os
from pathlib import Path

from project.data.unfinished import unfinished


def test_names_are_hidden_neighbours_that_differ_within_a_process_and_beside_it():
    path = Path("cache/key.npy")
    names = [unfinished(path) for _ in range(3)]
    assert len(set(names)) == 3
    for name in names:
        assert name.parent == path.parent
        assert name.name.startswith(".key.")
        assert name.suffix == ".tmp"
        assert name.name.split(".")[2] != str(os.getpid())
