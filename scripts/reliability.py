"""Fills the table of docs/reliability.md with what `make test-faults` found.

    make test-faults
    python scripts/reliability.py .pytest_cache/faults.xml

A row is a promise, as the first line of its file in `tests/faults` says it; its tests are named after what they do.
"""

from __future__ import annotations

import argparse
import ast
import os
import platform
import re
import sys
import xml.etree.ElementTree as ElementTree
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# so that `python scripts/reliability.py` finds the project without installing it
sys.path.insert(0, str(ROOT))

from project.errors import DataError, one_line_for_mistakes
from project.files import write_text

_TABLE = re.compile(r"(<!-- found by make test-faults -->\n).*?(<!-- end -->)", re.DOTALL)


@dataclass
class Found:
    """What was found of one promise: faults by test, how many tests survived theirs, and the rest."""

    faults: Counter[str] = field(default_factory=Counter)
    survived: int = 0
    left_out: int = 0


def main(arguments: list[str] | None = None) -> None:
    """Rewrites the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reports", type=Path, nargs="+", help="JUnit reports; of a test in several the last one counts")
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "reliability.md", help="(docs/reliability.md)")
    options = parser.parse_args(arguments)
    with one_line_for_mistakes():
        found, seconds = read_reports(options.reports)
        text = table(found, promises(ROOT / "tests" / "faults"), seconds)
        page, count = _TABLE.subn(lambda match: f"{match[1]}{text}{match[2]}", options.page.read_text("utf-8"))
        if not count:
            raise DataError(f"--page: {options.page}: has no place for the table")
        write_text(options.page, page)


def read_reports(paths: list[Path]) -> tuple[dict[str, Found], float]:
    """What reports found of each promise, and how many seconds the tests took.

    Raises:
        DataError: a file is absent or no such report, or was written by other tests.
    """
    cases = {(case.get("classname"), case.get("name")): case for path in paths for case in _cases(path)}
    found: dict[str, Found] = {}
    for case in cases.values():
        given = _properties(case)
        promise = found.setdefault(given["promise"], Found())
        count = int(given.get("faults", 1))
        outcomes = {child.tag for child in case}
        if "skipped" in outcomes:
            promise.left_out += count
            continue
        promise.faults[case.get("name", "").partition("[")[0].removeprefix("test_").replace("_", " ")] += count
        promise.survived += count * (not outcomes & {"failure", "error"})
    return found, sum(float(case.get("time", 0)) for case in cases.values())


def _cases(path: Path) -> list[ElementTree.Element]:
    try:
        cases = list(ElementTree.parse(path).iter("testcase"))  # noqa: S314  our own tests wrote it
    except (OSError, ElementTree.ParseError) as error:
        raise DataError(f"{path}: no report of tests ({error}); run make test-faults") from None
    for case in cases:
        if "promise" not in _properties(case):
            raise DataError(f"{path}: {case.get('name')} is of no promise; run make test-faults")
    return cases


def _properties(case: ElementTree.Element) -> dict[str, str]:
    return {each.attrib["name"]: each.attrib["value"] for each in case.iter("property")}


def promises(folder: Path) -> dict[str, str]:
    """What is promised, by its name, in the order of the files."""
    lines = [
        (ast.get_docstring(ast.parse(path.read_text("utf-8"))) or "").splitlines()[0]
        for path in sorted(folder.glob("test_r*.py"))
    ]
    return dict(line.rstrip(".").split(": ", 1) for line in lines)


def table(found: dict[str, Found], promised: dict[str, str], seconds: float) -> str:
    """The table in Markdown, with a line on where it was found."""
    rows = ["| | promise | what was done, and how often | survived |", "|---|---|---|---|"]
    for name, text in promised.items():
        one = found.get(name, Found())
        tests = ", ".join(f"{test} {count}" for test, count in one.faults.items() if count) or "not run"
        left_out = f"; {one.left_out} left out here" if one.left_out else ""
        rows.append(f"| {name} | {text} | {tests}{left_out} | {one.survived} of {one.faults.total()} |")
    faults, survived = (
        sum(values) for values in ((f.faults.total() for f in found.values()), (f.survived for f in found.values()))
    )
    rows.append(f"| | **all** | | **{survived} of {faults}** |")
    where = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    return "\n".join(rows) + f"\n\nFound in {seconds / 60:.0f} minutes on {where}.\n"


if __name__ == "__main__":
    main()
