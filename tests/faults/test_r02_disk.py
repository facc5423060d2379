"""R2: a checkpoint is whole or absent, and the earlier one survives whatever happens to the next."""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest

from tests.faults.commands import state
from tests.faults.outcomes import STEPS, TASKS, assert_same_run, leftovers, steps_of

PROMISE = "R2"


def size(directory: Path) -> int:
    return (directory / "checkpoints" / "last.ckpt").stat().st_size


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("share", [0.4, 0.7, 0.99])
def test_killed_within_the_file(fit, directory, ends_as_whole, task, share):
    """By the kernel, when so much of the next checkpoint is written."""
    command = fit(task, "train 30", dies_of_limits=True)
    command.wait_for_pause()
    command.limit_files(int(share * size(directory)))
    command.go_on()
    assert command.wait() == -signal.SIGXFSZ
    assert steps_of(directory) == steps_of(directory, "best") == STEPS
    (half,) = set(leftovers(directory)) - {".lock"}
    assert (directory / "checkpoints" / half).stat().st_size == int(share * size(directory))
    ends_as_whole(task)


@pytest.mark.parametrize("task", TASKS)
def test_no_room_for_a_while(fit, directory, wholes, tmp_path, task):
    """The temporary folder has room: what is written there and moved would destroy the earlier checkpoint."""
    (tmp_path / "elsewhere").mkdir()
    command = fit(task, "train 30,train 50", environment={"TMPDIR": str(tmp_path / "elsewhere")})
    command.wait_for_pause()
    command.limit_files(size(directory) // 2)
    command.go_on()
    command.wait_for(lambda: "could not be written" in command.output)
    command.wait_for_pause()
    assert steps_of(directory) == STEPS
    assert leftovers(directory) == [".lock"]
    command.limit_files(-1)
    command.go_on()
    assert command.wait() == 0, command.output
    assert command.output.count("last.ckpt could not be written") == 2  # at step 44 and at the end of the epoch
    assert_same_run(directory, wholes.run(task))


def test_no_room_from_the_start(fit, directory):
    command = fit("Classifier", "train 5")
    command.wait_for_pause()
    command.limit_files(3000)
    command.go_on()
    assert command.wait() == 2
    assert "\nerror: the disk: File too large; make room" in command.output
    assert not directory.exists()  # a run without a result is removed


SMALL = r"""
mount -t tmpfs -o size=$SIZE none "$ROOM" && echo mounted || exit 99
"$@"
status=$?
cp -r "$ROOM" "$KEPT"
exit $status
"""


def fill(path: Path) -> None:
    """Takes all the room that there is."""
    with open(path, "wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(1024))


def can_mount() -> bool:
    command = ["unshare", "-rm", "mount", "-t", "tmpfs", "none", "/mnt"]
    try:
        return subprocess.run(command, capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not can_mount(), reason="mounting a small file system needs user namespaces, which are off here")
@pytest.mark.parametrize("task", ["Classifier", "Captioner", "Distiller"])
def test_a_full_file_system(start, wholes, tmp_path, task):
    """A file system of its own, which something else fills up in the second epoch."""
    room, kept = tmp_path / "room", tmp_path / "kept"
    room.mkdir()
    environment = {"ROOM": str(room), "KEPT": str(kept), "SIZE": "4m", "PAUSE_AT": "train 30"}
    command = start(
        wholes.options(task, room / "runs"),
        environment=environment,
        wrapper=("unshare", "-rm", "sh", "-c", SMALL, "sh"),
    )
    program = []
    command.wait_for(lambda: program.extend(pid for pid in command.processes() if state(pid) == "T") or program)
    inside = Path(f"/proc/{program[0]}/root") / room.relative_to("/")
    directory = inside / "runs" / "r" / "version_0"
    assert steps_of(directory) == STEPS
    fill(inside / "filler")
    os.kill(program[0], signal.SIGCONT)
    assert command.wait() == 2  # TensorBoard needs room for every number
    assert "\nerror: the disk: No space left on device; make room" in command.output
    found = kept / "runs" / "r" / "version_0"
    assert steps_of(found) == steps_of(found, "best") == STEPS
    assert leftovers(found) == []
