"""The house rules of the design: which way imports point, how long a file is, where its test lies."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = sorted((ROOT / "project").rglob("*.py"))
ROOMS = {
    "models", "decoding", "losses", "optim", "metrics", "data", "tasks", "runs", "callbacks", "analysis", "export", "sweeps",
    "cli",
}  # fmt: skip
LOW = {"tasks", "callbacks", "runs", "cli", "analysis", "export", "sweeps"}  # what the rooms below must not know
FORBIDDEN = {
    **dict.fromkeys(("models", "decoding", "losses", "optim", "metrics", "data"), LOW),
    "runs": {"cli", "callbacks", "tasks", "export", "sweeps"},
    "tasks": {"cli", "callbacks", "analysis", "export", "sweeps"},
    "callbacks": {"cli", "tasks", "export", "sweeps"},
    "analysis": {"cli", "callbacks", "export", "sweeps"},
    "export": {"cli", "callbacks", "sweeps"},
    "sweeps": {"cli", "callbacks", "tasks", "export"},
    "errors": ROOMS | {"errors", "files"},
    "files": ROOMS | {"errors", "files"},
    **dict.fromkeys(("redaction", "text", "yaml_files"), ROOMS),
}
LIBRARIES = {
    "models": {"torch", "torchvision", "timm"},  # timm where it is installed
    "decoding": {"torch"},
    "losses": {"torch"},
    "optim": {"torch"},
    "metrics": {"torch", "torchmetrics", "numpy", "pycocoevalcap"},  # the last where it is installed
    "errors": set(),
    "files": set(),
    "redaction": {"yaml"},
    "text": set(),
    "yaml_files": {"yaml"},
}

name = lambda path: str(path.relative_to(ROOT))  # noqa: E731


def room(path: Path) -> str:
    return path.relative_to(ROOT / "project").parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    """Dotted names of everything that a module imports, also inside functions."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "relative imports hide where they point"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def rooms_of(path: Path) -> set[str]:
    return {dotted.split(".")[1] for dotted in imported(path) if dotted.startswith("project.")}


def test_there_is_something_to_look_at():
    assert len(MODULES) > 40
    assert {"data", "tasks"} <= {other for path in MODULES for other in rooms_of(path)}


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_imports_point_one_way(path):
    assert not rooms_of(path) & FORBIDDEN.get(room(path), set())
    if room(path) not in ("cli", "__main__"):
        assert "cli" not in rooms_of(path)


@pytest.mark.parametrize("path", [path for path in MODULES if room(path) in LIBRARIES], ids=name)
def test_the_lower_rooms_use_few_libraries(path):
    import sys

    used = {dotted.split(".")[0] for dotted in imported(path)} - set(sys.stdlib_module_names) - {"project"}
    assert used <= LIBRARIES[room(path)]


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_a_file_is_short_and_says_what_it_is(path):
    text = path.read_text()
    assert len(text.splitlines()) <= 400
    if text:
        assert ast.get_docstring(ast.parse(text))


def test_the_median_file_is_short():
    lengths = sorted(len(path.read_text().splitlines()) for path in MODULES)
    assert lengths[len(lengths) // 2] < 150


@pytest.mark.parametrize("path", [path for path in MODULES if path.name != "__init__.py"], ids=name)
def test_a_module_has_its_tests(path):
    relative = path.relative_to(ROOT / "project")
    mirror = ROOT / "tests" / relative.parent / f"test_{relative.name}"
    assert mirror.is_file()
    assert "def test_" in mirror.read_text()


def test_a_mirror_has_its_module():
    others = ("system", "scripts", "browser", "faults")
    mirrors = [path for path in (ROOT / "tests").rglob("test_*.py") if path.parent.name not in others]
    relative = [path.relative_to(ROOT / "tests") for path in mirrors]
    lost = [
        path for path in relative if not (ROOT / "project" / path.parent / path.name.removeprefix("test_")).is_file()
    ]
    assert lost == []


def decodes_by_locale(call: ast.Call) -> bool:
    """Whether a call reads or writes text, and does not name its encoding."""
    function, named = call.func, {keyword.arg: keyword.value for keyword in call.keywords}
    if "encoding" in named:
        return False
    if isinstance(function, ast.Name) and function.id == "open":
        mode = [*call.args[1:2], *([named["mode"]] if "mode" in named else [])]
        return not (mode and isinstance(mode[0], ast.Constant) and "b" in mode[0].value)
    if isinstance(function, ast.Attribute) and function.attr in ("read_text", "write_text"):
        return len(call.args) <= (function.attr == "write_text")
    of_subprocess = isinstance(function, ast.Attribute) and ast.unparse(function.value) == "subprocess"
    return of_subprocess and bool({"text", "universal_newlines"} & named.keys())


@pytest.mark.parametrize("path", [*MODULES, *sorted((ROOT / "scripts").rglob("*.py"))], ids=name)
def test_text_files_always_have_an_encoding(path):
    calls = [node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Call)]
    assert [call.lineno for call in calls if decodes_by_locale(call)] == []


def test_the_tests_are_no_packages():
    assert not list((ROOT / "tests").rglob("__init__.py"))


PRINTERS = ("project/text.py", "project/export/caption.py")  # the second is a program of its own
SCRIPTS = [ROOT / "scripts" / f"{each}.py" for each in ("compare", "export", "report", "score_captions", "sweep")]


@pytest.mark.parametrize("path", [*MODULES, *SCRIPTS], ids=name)
def test_what_is_printed_is_printable(path):
    """Names of strangers are escaped by `print_lines`; a constant text has none."""
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    prints = [call for call in calls if isinstance(call.func, ast.Name) and call.func.id == "print"]
    # the version, a completion script, and constants from a signal handler
    own = "project/cli/__init__.py", "project/cli/command.py", "project/runs/signals.py"
    if name(path) not in (*PRINTERS, *own):
        assert all(isinstance(each, ast.Constant) for call in prints for each in call.args)


UNBOUNDED = {  # reads nothing of strangers: what this program wrote, or the user's own word
    "project/callbacks/predictions.py", "project/cli/arguments.py", "project/cli/command.py", "project/export/caption.py",
    "project/metrics/captions/corpus.py", "project/sweeps/study.py", "project/yaml_files.py",
    "project/data/store.py", "project/runs/directory.py", "project/runs/provenance.py",
}  # fmt: skip


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_yaml_and_json_are_read_within_bounds(path):
    calls = {ast.unparse(node.func) for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)}
    assert name(path) in UNBOUNDED or not calls & {"yaml.safe_load", "yaml.load", "json.load", "json.loads"}


IN_MEMORY = {  # JSON that is no file: keys of caches, options, metadata that this program alone reads back
    "project/callbacks/predictions.py", "project/cli/command.py", "project/cli/teachers.py", "project/data/cache.py",
    "project/data/captions/annotations.py", "project/export/weights.py", "project/metrics/captions/corpus.py",
    "project/redaction.py", "project/runs/directory.py", "project/sweeps/space.py",
    "project/sweeps/study.py", "project/yaml_files.py",
}  # fmt: skip


@pytest.mark.parametrize("path", [*MODULES, *SCRIPTS], ids=name)
def test_json_files_are_written_without_nan(path):
    """By `dump_json`, which writes null."""
    calls = {ast.unparse(node.func) for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)}
    assert name(path) in IN_MEMORY or not calls & {"json.dump", "json.dumps"}
