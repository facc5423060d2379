"""Captions are the same for the same seed, and what is missing is one line."""

from __future__ import annotations

import importlib.util
import random
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def script(monkeypatch):
    spec = importlib.util.spec_from_file_location("golden_captions", ROOT / "scripts" / "golden_captions.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setattr(sys, "path", list(sys.path))
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("level", ["light", "medium", "wild"])
def test_captions_follow_from_the_seed(script, level):
    first, second, third = (
        [script.hostile_caption(random.Random(seed), level) for _ in range(3)] for seed in (1, 1, 2)
    )
    assert first == second != third


def test_a_reference_that_is_missing_is_one_line_and_status_2(script, monkeypatch, capsys):
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(sys, "argv", ["golden_captions.py", "fuzz", "--lines", "1"])
    with pytest.raises(SystemExit) as stopped:
        script.main()
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("error: there is no ")
    assert error.count("\n") == 1


def test_a_caption_that_the_reference_splits_or_swallows_has_no_tokens(script, monkeypatch):
    output = "a dog .\nqq0qq ,\none\ntwo\nqq1qq ,\n<b\nqq2qq,\nx >\nqq3qq ,\n"
    done = script.subprocess.CompletedProcess([], 0, output.encode(), b"")
    monkeypatch.setattr(script, "_java", lambda: "java")
    monkeypatch.setattr(script, "_jar", lambda: Path("jar"))
    monkeypatch.setattr(script.subprocess, "run", lambda *_, **__: done)
    assert script.reference_tokens(["A dog.", "one\vtwo", "<b", "x >"]) == [["a", "dog"], None, None, None]
