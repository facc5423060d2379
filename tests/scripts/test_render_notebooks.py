"""A notebook as Markdown: what was run, what it showed, and one line where it failed."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import nbformat
import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
SETUP = f"import sys\nsys.path.insert(0, {str(ROOT)!r})\nfrom project.analysis.display import set_up_notebook\nset_up_notebook()"


@pytest.fixture
def render():
    spec = importlib.util.spec_from_file_location("render_notebooks", ROOT / "scripts" / "render_notebooks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


@pytest.fixture
def notebook(tmp_path):
    """Writes a notebook of code cells: (*sources) gives its path."""

    def write(*sources: str) -> Path:
        cells = [nbformat.v4.new_markdown_cell("# A title"), *map(nbformat.v4.new_code_cell, sources)]
        path = tmp_path / "small.ipynb"
        nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
        return path

    return write


def test_a_figure_has_its_titles_as_text(render, notebook, tmp_path):
    draw = "from project.analysis.style import new_figure\nfigure, axes = new_figure()\naxes[0, 0].set_title('A line', loc='left')\nfigure"
    table = "import pandas\npandas.DataFrame({'a': [1]})"
    path = notebook(SETUP, draw, table)
    before = path.read_bytes()
    output = tmp_path / "docs"
    (output / "small").mkdir(parents=True)
    (output / "small" / "old.png").touch()
    render([str(path), "--output", str(output)])
    text = (output / "small.md").read_text()
    assert text.startswith(
        "<!-- made by scripts/render_notebooks.py from notebooks/small.ipynb; do not edit -->\n# A title\n"
    )
    assert "![A line](small/small_2_0.png)" in text
    assert draw in text
    assert "<td>1</td>" in text
    assert "<style" not in text
    assert [file.name for file in (output / "small").iterdir()] == ["small_2_0.png"]
    with Image.open(output / "small" / "small_2_0.png") as picture:
        assert picture.size == (660, 396)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("import warnings\nwarnings.warn('odd')", "a cell warns: .*odd"),
        (
            f"{SETUP}\nfrom project.analysis import load_runs\nload_runs('nowhere')",
            "MissingRunError: nowhere: there is no such folder of runs",
        ),
    ],
)
def test_what_goes_wrong_is_one_line(render, notebook, tmp_path, capsys, source, said):
    path = notebook(source)
    with pytest.raises(SystemExit) as stop:
        render([str(path), "--output", str(tmp_path / "docs")])
    assert stop.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {path}: ")
    assert re.search(said, line)
    assert not (tmp_path / "docs").exists()


def test_a_notebook_that_is_not_there(render, tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        render([str(tmp_path / "none.ipynb")])
    assert stop.value.code == 2
    assert "there is no such notebook" in capsys.readouterr().err
