"""How `python -m sphinx` makes pages of these files and of the docstrings."""

from __future__ import annotations

import pkgutil
import re
import sys
from importlib import import_module
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

ROOT = Path(__file__).resolve().parents[1]
# so that the reference finds the project without installing it
sys.path.insert(0, str(ROOT))

project = "project"
author = "The project's authors"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "project"

myst_heading_anchors = 3  # as GitHub has them
default_role = "code"  # docstrings have single backticks
napoleon_use_ivar = True
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"
autodoc_preserve_defaults = True


class Room(SphinxDirective):
    """All public modules of a room of the house, each with its docstrings: nothing has to be listed twice."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """The modules in order."""
        room = import_module(f"project.{self.arguments[0]}")
        below = [module.name for module in pkgutil.walk_packages(room.__path__, f"{room.__name__}.")]
        # what a package gathers is described where it lies
        options = "   :members:\n   :ignore-module-all:\n   :show-inheritance:\n"
        modules = [f".. automodule:: {name}\n{options}" for name in (room.__name__, *below)]
        return self.parse_text_to_nodes("\n".join(["```{eval-rst}", *modules, "```"]))


def describe_fields(app: Sphinx, what: str, name: str, described: object, options: object, lines: list[str]) -> None:
    """The fields of a tuple or a dataclass, which end its docstring, one a line, become a list."""
    fields = getattr(described, "_fields", ()) or getattr(described, "__dataclass_fields__", ())
    for place, line in enumerate(lines):
        if line.partition(":")[0] in fields:
            lines[place:] = ["Attributes:", *(f"    {each}" for each in lines[place:])]
            return


def skip_fields(app: Sphinx, what: str, name: str, member: object, skip: bool, options: object) -> bool | None:
    """A tuple's fields have no docstrings of their own."""
    return True if type(member).__name__ == "_tuplegetter" else None


def read_page(app: Sphinx, name: str, source: list[str]) -> None:
    """The README opens the pages; links that lead out of docs, where no pages are, keep their text alone."""
    if name == "index":
        readme = (ROOT / "README.md").read_text().replace("](docs/", "](./")
        source[0] = re.sub(r"(?<!!)\[([^]]*)\]\((?!\./|#|http)[^)]*\)", r"\1", readme) + source[0]
    source[0] = re.sub(r"\]\((?:\.\./)+README\.md", "](/index.md", source[0])


def setup(app: Sphinx) -> None:
    """Adds the directive and the hooks."""
    app.add_directive("room", Room)
    app.connect("autodoc-process-docstring", describe_fields, priority=400)  # before napoleon reads it
    app.connect("autodoc-skip-member", skip_fields)
    app.connect("source-read", read_page)
