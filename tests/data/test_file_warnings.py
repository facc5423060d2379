"""Pillow's warnings: one line for each file and text, in threads as well."""

from __future__ import annotations

import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from project.data.file_warnings import named_warnings


def test_warnings_have_the_files_name_once_each_and_those_of_others_stay_warnings(capsys):
    def read(number: int) -> None:
        for _ in range(3):
            with named_warnings(Path(f"photos/{number}\x1b.tif")):
                warnings.warn("Truncated File Read", UserWarning, stacklevel=1)

    before = list(warnings.filters), warnings.showwarning
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(read, range(20)))
    lines = capsys.readouterr().out.splitlines()
    assert sorted(lines) == sorted(f"data: photos/{number}\\x1b.tif: Truncated File Read" for number in range(20))
    assert (list(warnings.filters), warnings.showwarning) == before
