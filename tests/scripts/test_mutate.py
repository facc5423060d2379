"""Mutation testing of a small project: what its tests notice is killed, and the rest is shown."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CODE = '''"""Ages."""


def is_adult(age: int = 7, strict: bool = True) -> bool:
    """Whether it is; – and no longer a child."""
    return age > 17 if strict else age >= 17


def wait(left: int) -> int:
    while left > 0:
        left -= 1
    return left
'''
TESTS = """from project.room.ages import is_adult, wait


def test_borders():
    assert [is_adult(age) for age in (0, 16, 17, 18, 99)] == [False, False, False, True, True]


def test_waiting():
    assert wait(3) == 0
"""


@pytest.fixture
def mutate(monkeypatch):
    """The script as a module."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    spec = importlib.util.spec_from_file_location("mutate", ROOT / "scripts" / "mutate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("x = a < b", {"x = (a <= b)", "x = (a >= b)"}),
        ("x = 0 <= a < b", {"x = (0 < a < b)", "x = (0 > a < b)", "x = (0 <= a <= b)", "x = (0 <= a >= b)",
                            "x = (1) <= a < b", "x = (-1) <= a < b"}),
        ("x = -a * b", {"x = (-a / b)", "x = (a) * b"}),
        ("x = a and not b", {"x = (a or not b)", "x = a and (b)"}),
        ("x = f(a, dim=1)", {"x = f(a, dim=(2))", "x = f(a, dim=(0))", "x = (f(a))"}),
        ("x = min(a.sum(), 1e-9)", {"x = (max(a.sum(), 1e-09))", "x = min((a.mean()), 1e-9)",
                                    "x = min(a.sum(), (1.000000001))", "x = min(a.sum(), (-0.999999999))"}),
        ("x = a.clamp(b)", {"x = (a)"}),
        ("x = a if b else c", {"x = (c if b else a)"}),
        ("x = x + y", {"x = (x - y)", "pass"}),
        ("x.y = z", {"pass"}),
        ("x += y", {"pass"}),
        ("f()", {"pass"}),
        ("if a:\n    b", {"if not a:\n    b"}),
        ("raise E(1 + 2)", {"pass"}),
        ("assert a, 1 + 2", set()),
        ("def f(x: 'a < b' = True) -> 1 + 1: ...", {"def f(x: 'a < b' = (False)) -> 1 + 1: ..."}),
        ("x = 1e30", set()),
        ('"a < b – 1"', set()),
        ("x = '–', a == b", {"x = '–', (a != b)"}),
        ("x = f'{a + 1}'", set()),
    ],
)  # fmt: skip
def test_each_mistake_is_one_and_in_its_place(mutate, code, expected):
    source = code.encode()
    found = [mutant.source(source).decode() for mutant in mutate.mutants("m.py", source)]
    assert sorted(found) == sorted(expected)


def test_the_lines_that_differ_are_shown(mutate):
    source = b"a = 0\nb = -a\nc = 0\n"
    (mutant,) = [mutant for mutant in mutate.mutants("m.py", source) if mutant.line == 2]
    assert mutant.diff(source) == "-b = -a\n+b = (a)"


@pytest.fixture
def small(tmp_path) -> Path:
    """A project of one room and one module."""
    for name in ("scripts/mutate.py", "scripts/mutation/mistakes.py", "project/__init__.py", "project/errors.py",
                 "project/runs/__init__.py", "project/files.py", "project/text.py", "project/yaml_files.py"):  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    texts = {
        "project/room/__init__.py": '"""A room."""\n',
        "project/room/ages.py": CODE,
        "tests/room/test_ages.py": TESTS,
        "configs/none.yaml": "",
        "pyproject.toml": '[tool.pytest.ini_options]\naddopts = ["--import-mode=importlib"]\npythonpath = ["."]\n'
        'markers = ["slow", "faults"]\n',
    }
    for name, text in texts.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_a_sample_is_a_function_of_its_seed(mutate, small, monkeypatch):
    monkeypatch.setattr(mutate, "ROOT", small)
    everything = mutate.all_mutants("room")
    one, same, other = (mutate.sampled("room", 8, seed) for seed in (0, 0, 1))
    assert one == same != other
    assert len(set(one)) == 8
    assert set(one) < set(everything)
    assert mutate.sampled("room", 10**6, 0) == everything


def command(small: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Runs it in a process, from which it can fork, without what the small project does not need."""
    code = "import mutate; mutate._FOR_TESTS = (); mutate.main()"
    return subprocess.run(
        [sys.executable, "-c", code, *options],
        cwd=small,
        env={"PYTHONPATH": str(small / "scripts"), "TMPDIR": str(small)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_what_the_tests_notice_is_killed_and_the_rest_is_shown(small):
    done = command(small, "--rooms", "room", "--seconds", "12", "--jobs", "2")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    # the default of an age, and who is not strict, are never asked for
    shown = [line for line in lines if line[:1] == "+"]
    assert sorted(shown) == sorted(
        [f"+def is_adult(age: int = ({age}), strict: bool = True) -> bool:" for age in (8, 6)]
        + [f"+    return age > 17 if strict else age {rest}" for rest in (">= (18)", ">= (16)")]
        + [f"+    return age > 17 if strict else (age {sign} 17)" for sign in ("<", ">")]
    )
    kept = json.loads((small / "mutants.json").read_text())
    outcomes = {(mutant["line"], mutant["new"]): mutant["outcome"] for mutant in kept}
    assert outcomes[6, "(age >= 17)"] == outcomes[4, "(False)"] == "killed"
    assert outcomes[11, "pass"] == outcomes[11, "(0)"] == "timed out"
    assert lines[-1].split() == ["room", str(len(kept)), str(len(kept) - 8), "2", "6"]

    (small / "tests/room/test_ages.py").write_text(TESTS + "\n\ndef test_default():\n    assert not is_adult()\n")
    (small / "tests/room/test_others.py").write_text(
        "from project.room.ages import is_adult\n\n\ndef test_loose():\n    assert is_adult(17, strict=False)\n"
    )
    again = command(small, "--rooms", "room", "--again", "mutants.json", "--jobs", "2").stdout.splitlines()
    assert again[-1].split() == ["room", "6", "3", "0", "3"]
    assert not list(small.glob("mutant-*"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--rooms", "rom"], "error: --rooms: project/rom holds no code; name a folder of project/"),
        (["--rooms", "room", "--again", "no.json"], "error: --again: no.json: is no --output of this script ("),
        (["--rooms", "room"], "error: tests/room: killed as it is; see `pytest tests/room`, or raise --seconds"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(small, options, line):
    (small / "tests/room/test_ages.py").write_text("def test_it():\n    raise OSError\n")
    done = command(small, *options)
    assert done.returncode == 2
    assert done.stderr.startswith(line)
    assert done.stderr.count("\n") == 1
