"""The notebooks as they are committed: without outputs and shell, explained, and with a rendered copy of the same cells."""

from __future__ import annotations

import json
import re
from pathlib import Path

import nbformat
import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
COPIES = ROOT / "docs" / "notebooks"
PICTURE = re.compile(r"!\[(.*?)\]\((.*?)\)")

every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def cells(path: Path, kind: str) -> list:
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == kind]


def test_there_is_one_for_each_task():
    assert [path.stem for path in NOTEBOOKS] == ["captioning", "classification", "distillation"]


@every_notebook
def test_it_is_valid_and_holds_no_outputs(path):
    content = json.loads(path.read_text())
    nbformat.validate(content)
    for cell in content["cells"]:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            assert cell["execution_count"] is None
        assert cell["metadata"] == {}
    assert set(content["metadata"]) == {"kernelspec", "language_info"}


@every_notebook
def test_it_runs_no_shell(path):
    for cell in cells(path, "code"):
        assert not re.search(r"^\s*[!%]|get_ipython|os\.system|subprocess", cell.source, re.MULTILINE)


@every_notebook
def test_cells_are_short_and_explained(path):
    kinds = [cell.cell_type for cell in nbformat.read(path, as_version=4).cells]
    assert kinds[0] == "markdown"
    assert not any(kinds[place : place + 3] == ["code"] * 3 for place in range(len(kinds)))
    assert all(len(cell.source.splitlines()) <= 30 for cell in cells(path, "code"))
    assert "PROJECT_RUNS" in cells(path, "code")[0].source


@every_notebook
def test_its_copy_has_the_same_cells_and_no_warning(path):
    text = (COPIES / f"{path.stem}.md").read_text()
    assert re.findall(r"^```python\n(.*?)\n```$", text, re.DOTALL | re.MULTILINE) == [
        cell.source for cell in cells(path, "code")
    ]
    place = 0
    for cell in nbformat.read(path, as_version=4).cells:
        place = text.index(cell.source, place) + len(cell.source)
    assert not re.search(r"Warning|Traceback|/home/|/root/|/tmp/|/work/", text)


@every_notebook
def test_every_figure_of_its_copy_is_there_and_has_a_title(path):
    pictures = PICTURE.findall((COPIES / f"{path.stem}.md").read_text())
    assert len(pictures) >= 5
    assert all(title and title != "png" for title, _ in pictures)
    files = [COPIES / file for _, file in pictures]
    assert sorted(files) == sorted((COPIES / path.stem).iterdir())
    for file in files:
        with Image.open(file) as picture:
            assert 300 <= picture.width <= 1500
            assert picture.height <= 1500


def test_the_copies_are_small():
    assert sum(file.stat().st_size for file in COPIES.rglob("*") if file.is_file()) < 2_000_000
