"""A home and a directory for temporary files, where there is none."""

from __future__ import annotations

import os
import pwd
import tempfile
from pathlib import Path

import pytest

from project.errors import RunError
from project.runs import places
from project.runs.places import provide_places


@pytest.fixture
def nameless(monkeypatch):
    """A user id that is in no list, and no HOME."""
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 2**31 - 17)
    with pytest.raises(KeyError):
        pwd.getpwuid(os.getuid())


@pytest.fixture
def read_only(monkeypatch, tmp_path):
    """No usual directory for temporary files."""
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: [str(tmp_path / "absent")])
    monkeypatch.setenv("TMPDIR", "")


def test_user_without_a_name_and_a_home_gets_a_home(nameless):
    with pytest.raises(RuntimeError):
        Path.home()
    provide_places()
    assert Path.home() == Path("/")
    del os.environ["HOME"]


def test_home_that_is_set_stays(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    provide_places()
    assert Path.home() == tmp_path


def test_read_only_system_has_temporary_files_in_memory(read_only, monkeypatch, tmp_path):
    monkeypatch.setattr(places, "_MEMORY", str(tmp_path))
    provide_places()
    assert tempfile.gettempdir() == os.environ["TMPDIR"] == str(tmp_path)
    with tempfile.NamedTemporaryFile() as file:
        assert Path(file.name).parent == tmp_path


def test_system_that_cannot_write_anywhere_says_so(read_only, monkeypatch, tmp_path):
    monkeypatch.setattr(places, "_MEMORY", str(tmp_path / "absent"))
    with pytest.raises(RunError, match="TMPDIR"):
        provide_places()
