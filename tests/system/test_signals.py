"""A scheduler takes a stopped run for what it is: stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from project.runs.checkpoints import read_checkpoint

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, 143), pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow)]
)
def test_a_signal_to_the_process_writes_a_checkpoint_and_the_status_says_so(tmp_path, number, status):
    command = [sys.executable, "-m", "project", "fit", "--config", "configs/classifier/digits.yaml", "--name", "r"]
    command += ["--trainer.max_epochs", "100000", "--trainer.default_root_dir", str(tmp_path), "--progress", "none"]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    run = tmp_path / "r" / "version_0"
    deadline = time.monotonic() + 120
    while not (run / "checkpoints" / "last.ckpt").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(number)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == status, output
    assert "Traceback" not in output
    assert read_checkpoint(run / "checkpoints" / "last.ckpt")["global_step"] > 0
    assert json.loads((run / "status.json").read_text()) == {"status": "interrupted"}


CONFIG = ["--config", "configs/classifier/digits.yaml"]
COMMANDS = {
    "fit": ["-m", "project", "fit", *CONFIG],
    "sweep": ["scripts/sweep.py", "--space", "s.yaml", "--trials", "1", *CONFIG],
    "report": ["scripts/report.py", "--ckpt_path", "best.ckpt"],
    "export": ["scripts/export.py", "--ckpt_path", "best.ckpt", "--format", "onnx", "--output", "x.onnx"],
}


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="this system does not list what a process has loaded")
@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_interrupt_while_libraries_are_imported_exits_with_130_and_prints_nothing(command):
    process = subprocess.Popen(
        [sys.executable, *command], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    deadline = time.monotonic() + 120
    while "libtorch" not in Path(f"/proc/{process.pid}/maps").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=60) == ("", None)
    assert process.returncode == 130
