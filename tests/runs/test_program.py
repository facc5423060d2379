"""Scripts learn of pieces from outside by the file that knows them."""

from __future__ import annotations

import sys

import pytest

from project.errors import ConfigError
from project.models import BACKBONES
from project.runs.program import import_pieces, program


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A program beside a module with a network, as docs/how-to has them."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "shapes_of_mine.py").write_text(
        "from project.models import BACKBONES, simple_cnn\nBACKBONES['tiny_of_mine'] = simple_cnn\n"
    )
    (tmp_path / "mine.py").write_text(
        "import shapes_of_mine\nfrom project.cli import main\n\nif __name__ == '__main__':\n    main()\n"
    )
    yield tmp_path / "mine.py"
    BACKBONES.pop("tiny_of_mine", None)
    sys.modules.pop("shapes_of_mine", None)


def test_without_the_variable_there_is_the_project_alone(monkeypatch):
    monkeypatch.delenv("PROGRAM", raising=False)
    import_pieces()
    assert program() == ["-m", "project"]


def test_what_the_file_imports_is_known_and_its_command_is_not_run(mine, monkeypatch):
    monkeypatch.setenv("PROGRAM", str(mine))
    import_pieces()
    assert "tiny_of_mine" in BACKBONES
    assert program() == [str(mine)]


def test_a_file_that_is_not_there_is_one_line(monkeypatch):
    monkeypatch.setenv("PROGRAM", "absent.py")
    with pytest.raises(ConfigError, match=r"^PROGRAM: absent\.py: there is no such file; it names the one that knows"):
        import_pieces()
