"""A file has its earlier content or its new one, and no other lies beside it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from project.runs.files import remove_leftovers, replacing, write_atomically

ROOT = Path(__file__).parents[2]


def test_the_new_content_takes_the_place_of_the_old_at_the_end(tmp_path):
    target = tmp_path / "t"
    write_atomically(target, "old, with ü")
    assert target.read_text() == "old, with ü"
    with replacing(target) as file:
        file.write(b"new")
        file.flush()
        assert target.read_text() == "old, with ü"
        assert Path(file.name).read_bytes() == b"new"
        assert Path(file.name).parent == tmp_path  # a rename from elsewhere would be a copy
    assert target.read_text() == "new"
    assert os.listdir(tmp_path) == ["t"]


def test_it_reaches_the_disk_before_it_is_renamed_and_the_rename_after(tmp_path, monkeypatch):
    done = []
    for name in ("fsync", "replace"):
        real = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *args, name=name, real=real: (done.append(name), real(*args))[1])
    write_atomically(tmp_path / "t", "text")
    assert done == ["fsync", "replace", "fsync"]


def write_half_of(target: Path, fault: type[BaseException]) -> None:
    with replacing(target) as file:
        file.write(b"half")
        raise fault


@pytest.mark.parametrize("fault", [ZeroDivisionError, KeyboardInterrupt])
def test_a_fault_leaves_the_old_content_alone(tmp_path, fault):
    target = tmp_path / "t"
    write_atomically(target, "old")
    with pytest.raises(fault):
        write_half_of(target, fault)
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["t"]


def test_a_text_is_replaced_whole_or_not_at_all(tmp_path, small_files_only):
    target = tmp_path / "t.txt"
    write_atomically(target, "old")
    with small_files_only(10), pytest.raises(OSError, match="too large"):
        write_atomically(target, "new" * 100)
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["t.txt"]


def test_what_a_killed_process_leaves_is_removed(tmp_path):
    code = (
        "import os, pathlib, signal\n"
        "from project.runs.files import replacing\n"
        "with replacing(pathlib.Path('t')) as file:\n"
        "    file.write(b'half'); file.flush(); os.kill(os.getpid(), signal.SIGKILL)"
    )
    (tmp_path / "t").write_text("old")
    (tmp_path / ".mine").write_text("")
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    killed = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment)
    assert killed.returncode == -signal.SIGKILL
    assert (tmp_path / "t").read_text() == "old"
    assert len(os.listdir(tmp_path)) == 3
    remove_leftovers(tmp_path)
    assert sorted(os.listdir(tmp_path)) == [".mine", "t"]


def test_a_files_name_that_is_no_text_is_written_as_its_escapes(tmp_path):
    write_atomically(tmp_path / "f", os.fsdecode(b"x\xff.png"))
    assert (tmp_path / "f").read_text() == "x\\udcff.png"
