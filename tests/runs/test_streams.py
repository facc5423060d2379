"""Output that cannot be written is dropped, and what prints it goes on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from project.runs.streams import keep_streams

ROOT = Path(__file__).parents[2]


def run(code: str, shell: str = 'exec "$@"', **options: object) -> subprocess.CompletedProcess[str]:
    """A Python that keeps its streams and then runs `code`, started by a shell that may redirect them."""
    code = f"import os, sys\nfrom project.runs.streams import keep_streams\nkeep_streams()\n{code}"
    command = ["sh", "-c", shell, "sh", sys.executable, "-c", code]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(command, env=environment, timeout=60, text=True, **({"capture_output": True} | options))


MANY = "for i in range(50_000): print(i)\nprint('end', file=sys.stderr)"


def test_reader_that_leaves_after_a_line_ends_output_alone():
    done = run(MANY, '{ "$@"; echo $? >&2; } | head -n 1')
    assert (done.stdout, done.stderr) == ("0\n", "end\n0\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is always full")
@pytest.mark.parametrize("which", [">", "2>"])
def test_full_disk_ends_output_alone(which):
    done = run(f"{MANY}\nsys.exit(7)", f'exec "$@" {which}/dev/full')
    assert done.returncode == 7
    assert done.stderr == ("end\n" if which == ">" else "")


def test_terminal_that_is_closed_ends_output_alone():
    terminal, end = os.openpty()
    code = f"os.close({terminal})\nprint('gone')\nsys.stdout.flush()\nsys.exit(7)"
    process = subprocess.Popen(
        [sys.executable, "-c", f"import os, sys\nfrom project.runs.streams import keep_streams\nkeep_streams()\n{code}"],
        env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=end, stderr=end, pass_fds=[terminal],
    )  # fmt: skip
    os.close(end)
    os.close(terminal)
    assert process.wait(60) == 7


def test_reader_that_is_slow_gets_everything_through_a_pipe_that_does_not_block():
    code = "os.set_blocking(1, False)\nfor i in range(50_000): print(i)"
    done = run(code, '"$@" | { sleep 0.2; cat; }')
    assert done.stdout.split() == [str(i) for i in range(50_000)]
    assert done.stderr == ""


def test_closed_streams_are_opened_before_a_file_takes_their_numbers(tmp_path):
    path = tmp_path / "checkpoint"
    code = f"""
with open({str(path)!r}, "w") as file:
    print("to nobody"); print("to nobody", file=sys.stderr)
    os.write(1, b"from a library"); os.write(2, b"from a library"); os.system("echo from a child")
    sys.stdout.isatty(), sys.stderr.fileno()
    file.write("whole")
"""
    done = run(code, 'exec "$@" <&- >&- 2>&-')
    assert done.returncode == 0
    assert path.read_text() == "whole"


@pytest.mark.parametrize("closed", [">&-", "2>&-"])
def test_one_closed_stream_leaves_the_other(closed):
    done = run("print('out'); print('err', file=sys.stderr)", f'exec "$@" {closed}')
    assert (done.stdout, done.stderr) == (("", "err\n") if closed == ">&-" else ("out\n", ""))


def test_characters_that_the_encoding_lacks_become_escapes():
    done = run("print('é \\udcff')", 'PYTHONIOENCODING=ascii exec "$@"')
    assert done.stdout == "\\xe9 \\udcff\n"
    assert done.returncode == 0


def test_a_line_is_written_when_it_is_printed_and_survives_a_kill():
    done = run("print('line')\nos.kill(os.getpid(), 9)", '"$@" | cat')
    assert done.stdout == "line\n"


def test_streams_that_something_else_has_put_in_place_stay(capsys):
    keep_streams()
    print("still captured")
    assert capsys.readouterr().out == "still captured\n"
