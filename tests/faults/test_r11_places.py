"""R11: where nothing can be written, a run says so before it trains."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.faults.outcomes import TASKS, assert_same_run

PROMISE = "R11"


def a_file(folder: Path) -> Path:
    (folder / "blocked").write_text("")
    return folder / "blocked"


def below_a_file(folder: Path) -> Path:
    return a_file(folder) / "runs"


def read_only(folder: Path) -> Path:
    """For root, who may write everywhere, a folder of the kernel's."""
    if os.geteuid() == 0:
        return Path("/proc/runs")
    (folder / "locked").mkdir(mode=0o555)
    return folder / "locked" / "runs"


def too_long(folder: Path) -> Path:
    return folder / ("long" * 99)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("place", [a_file, below_a_file, read_only, too_long], ids=lambda place: place.__name__)
def test_is_said_at_once(mends, wholes, tmp_path, task, place):
    root = place(tmp_path)
    line = mends(wholes.options(task, root))
    assert line.startswith("error: trainer.default_root_dir: cannot write ")
    assert str(root) in line


@pytest.mark.parametrize("verb", ["fit", "test", "predict"])
@pytest.mark.parametrize("task", ["Classifier", "Captioner"])
def test_a_run_that_cannot_be_written_any_more(mends, wholes, image_folder, tmp_path, task, verb):
    directory = Path(shutil.copytree(wholes.run(task), tmp_path / "runs" / "r" / "version_0"))
    moved = directory / "last.ckpt"
    shutil.move(directory / "checkpoints" / "last.ckpt", moved)
    shutil.rmtree(directory / "checkpoints")
    (directory / "checkpoints").write_text("")
    link = directory / "nested"
    link.mkdir()
    shutil.move(moved, link / "last.ckpt")
    more = {"fit": ["--trainer.max_epochs", 4], "test": [], "predict": ["--data.predict", image_folder / "test"]}[verb]
    line = mends([verb, "--ckpt_path", link / "last.ckpt", *more])
    assert line.startswith("error: trainer.default_root_dir: cannot write ")


@pytest.mark.parametrize("task", ["Classifier", "Captioner"])
def test_a_new_run_touches_no_other(fit, wholes, directory, task):
    """A directory that is there already, empty or not, is not written into."""
    directory.mkdir(parents=True)
    (directory / "mine.txt").write_text("mine")
    command = fit(task, more={"trainer.max_epochs": 1})
    assert command.wait() == 0, command.output
    assert [path.name for path in directory.iterdir()] == ["mine.txt"]
    assert (directory.parent / "version_1" / "checkpoints" / "best.ckpt").is_file()


NAMELESS = ("unshare", "--user", "--map-user=54321", "env", "-u", "HOME", "-u", "USER", "-u", "LOGNAME")
READ_ONLY = ("unshare", "-rm", "sh", "-c", r"""
mount --make-rprivate / && mount --bind "$ROOM" "$ROOM" || exit 99
awk '$5 !~ "^/(proc|sys|dev)(/|$)" {print $5}' /proc/self/mountinfo | while read -r place; do
    [ "$place" = "$ROOM" ] || mount -o remount,bind,ro "$place"
done
touch "$KEPT" && exit 98
cd / && exec "$@"
""", "sh")  # fmt: skip


DEFAULT = {"data.cache_dir": "null"}
NO_CACHE = {"XDG_CACHE_HOME": ""}


def can(*command: str) -> bool:
    try:
        return subprocess.run([*command, "true"], capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not can(*NAMELESS), reason="a user id without a name needs user namespaces, which are off here")
def test_a_user_without_a_name_and_a_home(start, wholes, tmp_path):
    command = start(wholes.options("Classifier", tmp_path / "runs", DEFAULT), wrapper=NAMELESS, environment=NO_CACHE)
    assert command.wait() == 0, command.output
    assert_same_run(tmp_path / "runs" / "r" / "version_0", wholes.run("Classifier"))
    assert not (tmp_path / "~").exists()


@pytest.mark.skipif(not can("unshare", "-rm"), reason="a read-only root needs user namespaces, which are off here")
@pytest.mark.parametrize("task", ["Classifier", "Captioner"])
def test_a_root_that_is_read_only(start, wholes, tmp_path, task):
    """The runs alone can be written: no home, no cache, no temporary files, no working directory."""
    whole, room = wholes.run(task), tmp_path / "room"
    room.mkdir()
    environment = {"ROOM": str(room), "KEPT": str(tmp_path / "kept"), "HOME": str(tmp_path), **NO_CACHE}
    command = start(wholes.options(task, room / "runs", DEFAULT), wrapper=READ_ONLY, environment=environment)
    assert command.wait() == 0, command.output
    assert_same_run(room / "runs" / "r" / "version_0", whole)
