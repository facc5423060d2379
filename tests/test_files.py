"""A file has its earlier content or its new one, and no other lies beside it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from project.files import (
    atomic_write,
    open_regular,
    read_text,
    remove_abandoned,
    remove_leftovers,
    temporary_path,
    write_text,
)

ROOT = Path(__file__).parents[1]


def test_the_new_content_takes_the_place_of_the_old_at_the_end(tmp_path):
    target = tmp_path / "t"
    write_text(target, "old, with ü")
    assert target.read_text() == "old, with ü"
    with atomic_write(target) as file:
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
    write_text(tmp_path / "t", "text")
    assert done == ["fsync", "replace", "fsync"]


def write_half_of(target: Path, fault: type[BaseException]) -> None:
    with atomic_write(target) as file:
        file.write(b"half")
        raise fault


@pytest.mark.parametrize("fault", [ZeroDivisionError, KeyboardInterrupt])
def test_a_fault_leaves_the_old_content_alone(tmp_path, fault):
    target = tmp_path / "t"
    write_text(target, "old")
    with pytest.raises(fault):
        write_half_of(target, fault)
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["t"]


def test_a_text_is_replaced_whole_or_not_at_all(tmp_path, small_files_only):
    target = tmp_path / "t.txt"
    write_text(target, "old")
    with small_files_only(10), pytest.raises(OSError, match="too large"):
        write_text(target, "new" * 100)
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["t.txt"]


def test_what_a_killed_process_leaves_is_removed(tmp_path):
    code = (
        "import os, pathlib, signal\n"
        "from project.files import atomic_write\n"
        "with atomic_write(pathlib.Path('t')) as file:\n"
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
    write_text(tmp_path / "f", os.fsdecode(b"x\xff.png"))
    assert (tmp_path / "f").read_text() == "x\\udcff.png"


def test_names_are_hidden_neighbours_that_differ_within_a_process_and_beside_it():
    path = Path("cache/key.npy")
    names = [temporary_path(path) for _ in range(3)]
    assert len(set(names)) == 3
    for name in names:
        assert name.parent == path.parent
        assert name.name.startswith(".key.npy.")
        assert name.suffix == ".tmp"
        assert name.name.split(".")[3] != str(os.getpid())


def test_only_what_is_old_is_taken_to_be_abandoned(tmp_path):
    new, old, other = tmp_path / ".a.1.tmp", tmp_path / ".a.2.tmp", tmp_path / "a.npy"
    for path in (new, old, other):
        path.touch()
    for path in (old, other):
        os.utime(path, (0, 0))
    remove_abandoned(tmp_path)
    assert sorted(tmp_path.iterdir()) == [new, other]


@pytest.mark.parametrize("locale", ["C", "C.UTF-8"])
def test_read_text_any_locale_decodes_utf8(tmp_path, locale):
    write_text(tmp_path / "f", "naïve 猫")
    code = f"from project.files import read_text; print(ascii(read_text({str(tmp_path / 'f')!r})))"
    environment = os.environ | {"PYTHONPATH": str(ROOT), "LC_ALL": locale, "PYTHONUTF8": "0"}
    shown = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == ascii("naïve 猫")


def test_open_regular_fifo_or_device_refuses_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "fifo", "/dev/zero", tmp_path):
        with pytest.raises(OSError, match=r"not a regular file|directory"):
            open_regular(path)


def test_read_text_of_other_encodings_raises(tmp_path):
    (tmp_path / "f").write_bytes(b"\xff")
    with pytest.raises(UnicodeDecodeError):
        read_text(tmp_path / "f")
