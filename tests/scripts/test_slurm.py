"""The SLURM script, as far as one machine goes: `srun` and `scontrol` are stand-ins, all else is what runs on a cluster."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from project.runs.checkpoints import read_checkpoint
from tests.system.ranks import PATIENCE, ROOT, TWO, everything, run_ranks

SCRIPT = ROOT / "scripts" / "slurm.sh"
SRUN = """
import os, signal, subprocess, sys
options = [word for word in sys.argv[1:] if word.startswith("--kill-on-bad-exit")]
command = sys.argv[1 + len(options):]
tasks = [
    subprocess.Popen(command, env=os.environ | {"SLURM_PROCID": str(i), "SLURM_LOCALID": str(i), "SLURM_NODEID": "0"})
    for i in range(int(os.environ["SLURM_NTASKS"]))
]
signal.signal(signal.SIGTERM, lambda number, frame: [task.send_signal(number) for task in tasks])
statuses = [task.wait() for task in tasks]
sys.exit(max(status if status >= 0 else 128 - status for status in statuses))
"""
JOB = {
    "SLURM_JOB_ID": "4711",
    "SLURM_JOB_NAME": "j",
    "SLURM_NNODES": "1",
    "SLURM_NTASKS": "2",
    "SLURM_NTASKS_PER_NODE": "2",
}


def test_bash_reads_it_and_it_asks_for_one_process_a_gpu():
    assert subprocess.run(["bash", "-n", SCRIPT], check=False).returncode == 0
    lines = [line.removeprefix("#SBATCH ") for line in SCRIPT.read_text().splitlines() if line.startswith("#SBATCH ")]
    options = dict(line.removeprefix("--").split("=") if "=" in line else (line[2:], "") for line in lines)
    assert options["ntasks-per-node"] == options["gpus-per-node"]
    assert options["signal"].startswith("B:USR1@")
    assert "requeue" in options
    assert os.access(SCRIPT, os.X_OK)


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
def test_shellcheck_has_nothing_to_say():
    assert subprocess.run(["shellcheck", SCRIPT], check=False).returncode == 0


@pytest.fixture
def submit(tmp_path):
    """Starts the script as a job would be started: (options of fit) to its process."""
    stubs = tmp_path / "bin"
    stubs.mkdir()
    (stubs / "srun.py").write_text(SRUN)
    (stubs / "srun").write_text(f'#!/bin/sh\nexec {sys.executable} {stubs}/srun.py "$@"\n')
    (stubs / "scontrol").write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/scontrol.txt\n')
    (stubs / "python").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    for stub in stubs.iterdir():
        stub.chmod(0o755)
    environment = os.environ | JOB | {"PATH": f"{stubs}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}

    def start(*options: object) -> subprocess.Popen:
        return subprocess.Popen(
            [SCRIPT, *map(str, options)], cwd=ROOT, env=environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    return start


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGTERM], ids=lambda number: number.name)
def test_a_warned_job_is_queued_again_and_ends_as_one_that_was_not(submit, images, fit_options, tmp_path, number):
    epochs = ("--trainer.max_epochs", 30, "--data.batch_size", 4)
    _, *options = fit_options(images, tmp_path / "runs", *epochs)
    where = options.index("--name")
    del options[where : where + 2]
    directory = tmp_path / "runs" / "j-4711" / "version_0"
    job = submit(*options)
    deadline = time.monotonic() + PATIENCE
    while not (directory / "checkpoints" / "last.ckpt").exists():
        assert job.poll() is None, job.stdout.read()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    job.send_signal(number)
    output, _ = job.communicate(timeout=PATIENCE)
    assert job.returncode == 143, output
    assert "Traceback" not in output
    asked = tmp_path / "scontrol.txt"
    if number == signal.SIGTERM:  # someone cancelled it
        assert not asked.exists()
        return
    assert asked.read_text() == "requeue 4711\n"
    assert 0 < read_checkpoint(directory / "checkpoints" / "last.ckpt")["global_step"] < 30 * 6

    job = submit(*options)
    output, _ = job.communicate(timeout=PATIENCE)
    assert job.returncode == 0, output
    assert asked.read_text() == "requeue 4711\n"
    assert [path.name for path in directory.parent.iterdir()] == ["version_0"]
    assert not list(tmp_path.rglob("hpc_ckpt*"))
    assert run_ranks(fit_options(images, tmp_path / "whole", *epochs, *TWO), tmp_path)[0] == [0, 0]
    assert everything(directory) == everything(tmp_path / "whole" / "r" / "version_0")
