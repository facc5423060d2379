"""R17: a run continues whatever became of its files, in one process at a time, and where its directory is removed."""

from __future__ import annotations

import os
import shutil
import signal
import socket
from pathlib import Path

import pytest

from tests.faults.outcomes import EPOCHS, STEPS, leftovers, rows, steps_of

PROMISE = "R17"

FILES = ("config.yaml", "metrics.csv", "provenance.json", "status.json")
BOMB = "a0: &a0 [x]\n" + "".join(f"a{n + 1}: &a{n + 1} [{', '.join([f'*a{n}'] * 9)}]\n" for n in range(9))


def write(content: bytes):
    return lambda path: path.write_bytes(content)


def make_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


DAMAGE = {
    "empty": write(b""),
    "cut": lambda path: path.write_bytes(path.read_bytes()[: -max(2, path.stat().st_size // 3)]),
    "not UTF-8": lambda path: path.write_bytes(path.read_bytes() + b"\xff\n"),
    "NUL bytes": lambda path: path.write_bytes(path.read_bytes() + bytes(9)),
    "another type": write(b"3\n"),
    "deep": write(b"[" * 100_000),
    "a bomb": write(BOMB.encode()),
    "bad values": lambda path: path.write_bytes({
        "config.yaml": b"seed: 2001-99-99\n", "metrics.csv": b"epoch,step\n0,a\n", "status.json": b'{"status": {}}\n',
        "provenance.json": b'[{"time": "2001-99-99", "command": "python -m project fit"}]\n',
    }[path.name]),
    "a FIFO": make_fifo,
    "a directory": lambda path: (path.unlink(), path.mkdir(), (path / "mine").write_text("mine")),
}  # fmt: skip


def content(path: Path) -> object:
    """What has to survive a renaming."""
    if path.is_dir():
        return [(each.name, each.read_bytes()) for each in path.iterdir()]
    return path.read_bytes() if path.is_file() else path.is_fifo()


def damaged_run(wholes, directory: Path, kind: str) -> dict[str, object]:
    """A copy of a whole run with all files damaged; what they hold now."""
    shutil.copytree(wholes.run("Classifier"), directory)
    for name in FILES:
        if not (kind == "cut" and name == "config.yaml"):  # a part of a configuration is one, too
            DAMAGE[kind](directory / name)
    return {name: content(directory / name) for name in FILES if not (kind == "cut" and name == "config.yaml")}


@pytest.mark.parametrize("kind", DAMAGE)
def test_run_with_damaged_files_resumes_and_sets_them_aside(start, wholes, directory, record_property, kind):
    before = damaged_run(wholes, directory, kind)
    command = start(["fit", "--ckpt_path", directory, "--trainer.max_epochs", EPOCHS + 1])
    assert command.wait() == 0, command.output
    assert steps_of(directory) == STEPS * (EPOCHS + 1)
    assert {name: content(directory / f"{name}.damaged_1") for name in before} == before
    for name in before:
        assert f"set aside as {name}.damaged_1" in command.output
    assert command.output.count("set aside as") == len(before)
    assert [int(row["step"]) // STEPS for row in rows(directory)][-1] == EPOCHS
    assert leftovers(directory) == []
    record_property("faults", len(before))


@pytest.mark.parametrize("kind", ["a FIFO", "a bomb"])
def test_auto_with_damaged_files_starts_a_new_run(fit, wholes, directory, kind):
    before = damaged_run(wholes, directory, kind)
    command = fit("Classifier", more={"ckpt_path": "auto", "trainer.max_epochs": 1})
    assert command.wait() == 0, command.output
    assert "version_0/config.yaml: cannot be read" in command.output
    assert {name: content(directory / name) for name in before} == before
    assert steps_of(directory.with_name("version_1")) == STEPS


def test_second_fit_of_a_run_in_training_is_refused(fit, start, mends, image_folder, directory, wholes):
    command = fit("Classifier", "train 30")
    command.wait_for_pause()
    held = f"is being trained by process {command.pid} on {socket.gethostname()}"
    assert held in mends(["fit", "--ckpt_path", directory])
    assert held in mends(wholes.options("Classifier", directory.parents[1], {"ckpt_path": "auto"}))
    assert start(["test", "--ckpt_path", directory]).wait() == 0  # which trains nothing
    command.send(signal.SIGKILL)
    again = start(["fit", "--ckpt_path", directory])
    assert again.wait() == 0, again.output
    assert steps_of(directory) == STEPS * EPOCHS
    assert leftovers(directory.parent) == []


def test_second_auto_before_a_first_checkpoint_is_refused(fit, mends, directory, wholes):
    auto = {"ckpt_path": "auto"}
    command = fit("Classifier", "train 3", auto)
    command.wait_for_pause()
    line = mends(wholes.options("Classifier", directory.parents[1], auto))
    assert f"is being trained by process {command.pid} on " in line
    command.go_on()
    assert command.wait() == 0, command.output
    assert os.listdir(directory.parent) == ["version_0"]


@pytest.mark.parametrize("what", ["removed", "renamed"])
def test_directory_gone_in_mid_run_goes_on_in_a_new_one(fit, wholes, directory, what):
    command = fit("Classifier", "train 30")
    command.wait_for_pause()
    moved = directory.with_name("mine")
    directory.rename(moved)
    if what == "removed":
        shutil.rmtree(moved)
    command.go_on()
    assert command.wait() == 0, command.output
    assert command.output.count("was removed or renamed; the run goes on in ") == 1
    assert steps_of(directory) == STEPS * EPOCHS
    assert steps_of(directory, "best") in (2 * STEPS, STEPS * EPOCHS)
    assert rows(directory) == rows(wholes.run("Classifier"))
    assert {*FILES} <= set(os.listdir(directory))
    assert list(directory.glob("events.out.tfevents.*"))
    assert what == "removed" or steps_of(moved) == STEPS


def test_another_run_in_the_place_of_a_renamed_directory_is_not_written_into(fit, directory):
    command = fit("Classifier", "train 30")
    command.wait_for_pause()
    directory.rename(directory.with_name("mine"))
    other = fit("Classifier", more={"trainer.max_epochs": 1})
    assert other.wait() == 0, other.output
    command.go_on()
    assert command.wait() == 0, command.output
    assert (steps_of(directory), steps_of(directory.with_name("version_1"))) == (STEPS, STEPS * EPOCHS)


def test_fit_in_an_ascii_locale_reads_and_prints_what_has_other_letters(start, image_folder, tmp_path):
    shutil.copytree(image_folder, tmp_path / "images")
    (tmp_path / "c.yaml").write_text("# größer\nmodel: Classifier\ndata: {class_path: ImageFolder}\n", "utf-8")
    more = ["--data.root", tmp_path / "images", "--data.image_size", 12, "--trainer.max_epochs", 1]
    environment = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    command = start(["fit", "--config", tmp_path / "c.yaml", *more], environment=environment, imports=True)
    assert command.wait() == 0, command.output
    assert r"12 \xd7 12 pixels" in command.output
