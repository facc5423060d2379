"""The generator of hostile checkpoints: it changes one place, covers all kinds, and what it watches for is found."""

from __future__ import annotations

import importlib.util
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def fuzz():
    """The script as a module."""
    spec = importlib.util.spec_from_file_location("fuzz_checkpoints", ROOT / "scripts" / "fuzz_checkpoints.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


CHECKPOINT = {
    "state_dict": {"w": torch.ones(2)}, "task": "Classifier", "hyper_parameters": {"image_size": 8, "mean": [0.1, 0.2, 0.3]},
    "config": {"trainer": {"callbacks": [{"class_path": "A"}]}, "model": {"init_args": {"optimizer": None}}}, "loops": {"a": 1},
}  # fmt: skip


def test_mutate_leaves_the_original_alone_and_reaches_every_section(fuzz, tmp_path):
    cases = [fuzz.mutate(CHECKPOINT, random.Random(seed), tmp_path) for seed in range(400)]
    assert CHECKPOINT["config"]["trainer"] == {"callbacks": [{"class_path": "A"}]}
    assert CHECKPOINT["hyper_parameters"] == {"image_size": 8, "mean": [0.1, 0.2, 0.3]}
    for section in CHECKPOINT:
        assert any(f" {section}" in what for what, _ in cases), section
    kinds = set(fuzz.hostile_values(tmp_path))
    assert len({what.partition(" at ")[0].partition(" as ")[0] for what, _ in cases} & kinds) > len(kinds) * 0.9


def test_hostile_values_can_be_saved(fuzz, tmp_path):
    for kind, value in fuzz.hostile_values(tmp_path).items():
        torch.save(value, tmp_path / "x.ckpt")
        assert (tmp_path / "x.ckpt").stat().st_size < 10**7, kind


def test_findings_are_what_a_clean_checkpoint_does_not_cause(fuzz, tmp_path):
    clean = fuzz.Outcome(0, "", {("subprocess.Popen", "subprocess.Popen"), ("open", "/elsewhere/clean")})
    inside = ("open", str(tmp_path / "runs" / "x"))
    assert fuzz.findings(fuzz.Outcome(0, "", clean.events | {inside}), clean, tmp_path) == []
    assert fuzz.findings(fuzz.Outcome(2, "error: one line\n", set()), clean, tmp_path) == []
    for event in (
        ("import", "evil"),
        ("os.system", "os.system"),
        ("open", "/elsewhere/x"),
        ("socket.connect", "socket.connect"),
    ):
        assert fuzz.findings(fuzz.Outcome(0, "", {event}), clean, tmp_path) == [" ".join(event)]
    assert fuzz.findings(fuzz.Outcome(1, "Traceback", set()), clean, tmp_path) == ["status 1", "a traceback"]
    assert fuzz.findings(fuzz.Outcome(2, "error: a\nerror: b\n", set()), clean, tmp_path) == ["2 lines of error"]
    (tmp_path / "exploded").touch()
    assert fuzz.findings(fuzz.Outcome(0, "", set()), clean, tmp_path) == ["it exploded"]


def test_run_records_what_a_command_does(fuzz, tmp_path):
    """The audit hook sees it: a module of the standard library stands for a stranger's."""
    fuzz.prepare(tmp_path)
    code = (
        "import os, sys; sys.path.insert(0, 'scripts'); import fuzz_checkpoints as fuzz; from pathlib import Path; "
        f"import project.cli as cli; place = Path({str(tmp_path)!r}); cli.main = lambda words: (os.system('true'), open(place / 'work' / 'made', 'w').close(), "
        "__import__('xmlrpc')); outcome = fuzz.run(['test'], place); print(outcome.status, sorted(outcome.events))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True,
                          env=os.environ | {"PYTHONPATH": str(ROOT)})  # fmt: skip
    assert done.stdout.startswith("0 [")
    for event in ("('import', 'xmlrpc')", "('os.system', 'os.system')", f"('open', '{tmp_path / 'work' / 'made'}')"):
        assert event in done.stdout, done.stdout


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_rounds_find_nothing(tmp_path):
    words = ["--rounds", "25", "--seed", "5", "--keep", str(tmp_path / "found")]
    done = subprocess.run(
        [sys.executable, "scripts/fuzz_checkpoints.py", *words], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "refused" in done.stdout
    assert not (tmp_path / "found").exists()
