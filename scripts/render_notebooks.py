"""Runs the notebooks and keeps what they show as Markdown, for reading without Jupyter.

    python scripts/render_notebooks.py                     # notebooks/*.ipynb to docs/notebooks/
    PROJECT_RUNS=../runs/notebooks python scripts/render_notebooks.py notebooks/captioning.ipynb

`PROJECT_RUNS` is the folder of the runs, seen from the notebooks'. The notebooks themselves stay without outputs.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import Any

import nbformat
from jinja2 import DictLoader
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbconvert import MarkdownExporter

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from project.errors import RunError, one_line_for_mistakes

ROOT = Path(__file__).resolve().parents[1]
_TEMPLATE = """
{%- extends 'markdown/index.md.j2' -%}
{%- block data_png -%}
![{{ output.metadata['image/png'].alt }}]({{ output.metadata.filenames['image/png'] | path2url }})
{%- endblock data_png -%}
"""
_QUIET = ["--IPKernelApp.log_level=40"]  # of the connection, which stays on this machine
_HEAD = "<!-- made by scripts/render_notebooks.py from notebooks/{}; do not edit -->\n"


def main(arguments: list[str] | None = None) -> None:
    """Renders all, or those that are named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("notebooks", nargs="*", type=Path, default=sorted((ROOT / "notebooks").glob("*.ipynb")))
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "notebooks", help="folder (docs/notebooks)")
    chosen = parser.parse_args(arguments)
    with one_line_for_mistakes():
        for path in chosen.notebooks:
            if not path.is_file():
                raise RunError(f"{path}: there is no such notebook")
            render(path, chosen.output)
            print(chosen.output / f"{path.stem}.md", flush=True)


def render(path: Path, output: Path) -> None:
    """Runs one notebook, and writes `NAME.md` and its pictures in `NAME/`.

    Raises:
        RunError: a cell failed, or warned.
    """
    notebook = nbformat.read(path, as_version=4)
    try:
        NotebookClient(notebook, resources={"metadata": {"path": str(path.parent)}}, extra_arguments=_QUIET).execute()
    except CellExecutionError as error:
        raise RunError(f"{path}: {error.ename}: {error.evalue}") from None
    for cell in notebook.cells:
        for shown in cell.get("outputs", []):
            if shown.output_type == "stream" and shown.name == "stderr":
                raise RunError(f"{path}: a cell warns: {shown.text.strip()}")
    exporter = MarkdownExporter(template_file="alt", extra_loaders=[DictLoader({"alt": _TEMPLATE})])
    resources: dict[str, Any] = {"unique_key": path.stem, "output_files_dir": path.stem}
    text, resources = exporter.from_notebook_node(notebook, resources)
    text = re.sub(r"<style scoped>.*?</style>\n", "", text, flags=re.DOTALL)  # which GitHub shows as text
    (output / path.stem).mkdir(parents=True, exist_ok=True)
    for old in (output / path.stem).iterdir():
        old.unlink()
    for name, content in resources["outputs"].items():
        (output / name).write_bytes(content)
    (output / f"{path.stem}.md").write_text(_HEAD.format(path.name) + text.strip() + "\n", "utf-8")


if __name__ == "__main__":
    main()
