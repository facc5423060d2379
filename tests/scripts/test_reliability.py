"""The table of docs/reliability.md: counted from a report, and its other claims name tests that are there."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "reliability.py"
PAGE = "# Page\n\n<!-- found by make test-faults -->\nold\n<!-- end -->\n\nmore\n"


def case(name: str, promise: str, child: str = "", **properties: int) -> str:
    given = {"promise": promise, **properties}
    listed = "".join(f'<property name="{key}" value="{value}" />' for key, value in given.items())
    return f'<testcase name="{name}" time="30.0"><properties>{listed}</properties>{child}</testcase>'


CASES = [
    case("test_killed_at[a]", "R1"),
    case("test_killed_at[b]", "R1", "<failure>no</failure>"),
    case("test_killed_again_and_again[a]", "R1", faults=5),
    case("test_killed_within_the_file[a]", "R2", "<error>no</error>"),
    case("test_the_room_is_small[a]", "R2", faults=0),
    case("test_a_full_file_system[a]", "R2", "<skipped>none here</skipped>"),
]  # fmt: skip


@pytest.fixture
def fill(tmp_path, monkeypatch, capsys):
    """Runs the script on a report and a page; returns its status, what it printed and the page."""
    monkeypatch.setattr(sys, "path", list(sys.path))

    def run(*reports: str, page: str = PAGE) -> tuple[int, str, str]:
        for number, report in enumerate(reports):
            (tmp_path / f"faults{number}.xml").write_text(report)
        (tmp_path / "page.md").write_text(page)
        files = [str(tmp_path / f"faults{number}.xml") for number in range(len(reports))]
        arguments = [str(SCRIPT), *files, "--page", str(tmp_path / "page.md")]
        monkeypatch.setattr(sys, "argv", arguments)
        status = 0
        try:
            runpy.run_path(str(SCRIPT), run_name="__main__")
        except SystemExit as stop:
            status = stop.code
        return status, capsys.readouterr().err, (tmp_path / "page.md").read_text()

    return run


def report(*cases: str) -> str:
    return f"<testsuites><testsuite>{''.join(cases)}</testsuite></testsuites>"


def test_faults_are_counted_by_promise_and_test(fill):
    status, _, page = fill(report(*CASES))
    assert status == 0
    lines = page.splitlines()
    (first,) = [line for line in lines if line.startswith("| R1 |")]
    assert first.endswith("| killed at 2, killed again and again 5 | 6 of 7 |")
    (second,) = [line for line in lines if line.startswith("| R2 |")]
    assert second.endswith("| killed within the file 1; 1 left out here | 0 of 1 |")
    assert "| | **all** | | **6 of 8** |" in lines
    assert [line for line in lines if line.startswith("Found in 3 minutes on ")]  # 6 tests of half a minute
    assert "old" not in lines
    assert lines[0] == "# Page"
    assert lines[-1] == "more"
    numbers = sorted({int(path.name[6:8]) for path in (ROOT / "tests" / "faults").glob("test_r*.py")})
    assert [line.split(" | ")[0] for line in lines if line.startswith("| R")] == [f"| R{number}" for number in numbers]


def test_a_test_that_was_run_again_counts_once(fill):
    again = case("test_killed_at[b]", "R1")
    _, _, page = fill(report(*CASES), report(again))
    assert "| killed at 2, killed again and again 5 | 7 of 7 |" in page
    assert "Found in 3 minutes on " in page


@pytest.mark.parametrize(
    ("given", "page", "words"),
    [
        ("no report", PAGE, "faults0.xml: no report of tests"),
        (report('<testcase name="test_other" time="1" />'), PAGE, "test_other is of no promise"),
        (report(*CASES), "# Page\n", "page.md: has no place for the table"),
    ],
)
def test_a_mistake_is_one_line(fill, given, page, words):
    status, error, after = fill(given, page=page)
    assert status == 2
    assert words in error
    assert error.count("\n") == 1
    assert after == page


def test_the_page_names_tests_that_are_there():
    text = (ROOT / "docs" / "reliability.md").read_text()
    named = re.findall(r"`(tests/[\w/.]+\.py)(?:::(\w+))?`", text)
    assert len(named) >= 14
    for path, function in named:
        assert f"def {function}" in (ROOT / path).read_text()
