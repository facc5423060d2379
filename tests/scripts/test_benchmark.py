"""The report says what was measured, and keeps what was not measured again."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def benchmark(monkeypatch):
    spec = importlib.util.spec_from_file_location("benchmark", ROOT / "scripts" / "benchmark.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setattr(sys, "path", list(sys.path))
    spec.loader.exec_module(module)
    return module


def test_best_of_takes_each_candidates_smallest_and_interleaves(benchmark):
    order = []
    results = {"a": [3.0, 1.0, 2.0], "b": [5.0, 6.0, 4.0]}

    def measure(name: str) -> float:
        order.append(name)
        return results[name].pop(0)

    from benchmarks.timing import best_of

    assert best_of(3, {name: lambda n=name: measure(n) for name in "ab"}) == {"a": 1.0, "b": 4.0}
    assert order == list("ababab")


def test_a_part_is_measured_anew_and_the_others_are_kept(benchmark, tmp_path, monkeypatch):
    def measured() -> list[dict]:
        """What it measures."""
        return [{"case": "x", "ratio": 1.5}]

    output = tmp_path / "results.json"
    monkeypatch.setattr(benchmark, "PARTS", {"one": measured, "two": measured})
    for arguments in (["one"], ["two"]):
        monkeypatch.setattr(sys, "argv", ["benchmark.py", *arguments, "--output", str(output)])
        benchmark.main()
    results = json.loads(output.read_text())
    assert set(results) == {"one", "two"}
    assert results["one"]["rows"] == [{"case": "x", "ratio": 1.5}]
    assert results["one"]["where"]["libraries"]["lightning"].startswith("2.6")
    text = output.with_suffix(".md").read_text()
    assert "## one" in text
    assert "| x | 1.5 |" in text


def test_results_go_into_json(benchmark, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["benchmark.py", "--output", str(tmp_path / "results.md")])
    with pytest.raises(SystemExit) as stop:
        benchmark.main()
    assert stop.value.code == 2
    assert "must end in .json" in capsys.readouterr().err


def test_an_unknown_part_is_a_mistake(benchmark, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["benchmark.py", "inptu"])
    with pytest.raises(SystemExit) as stop:
        benchmark.main()
    assert stop.value.code == 2
    assert "inptu" in capsys.readouterr().err


def test_a_part_that_has_nothing_to_measure_leaves_the_results_alone(benchmark, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(benchmark, "PARTS", {"gpu": list})
    monkeypatch.setattr(sys, "argv", ["benchmark.py", "--output", str(tmp_path / "results.json")])
    benchmark.main()
    assert capsys.readouterr().out == "gpu: there is nothing to measure it on\n"
    assert not list(tmp_path.glob("results.*"))


@pytest.mark.slow
def test_what_is_measured_of_a_gpu_runs_on_a_processor_too(monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    from benchmarks.gpu import rows_on

    rows = rows_on("cpu", images=80, batch_size=8, compiled=False)
    assert [(row["network"], row["precision"]) for row in rows] == [
        ("small_resnet", "32-true"), ("small_resnet", "bf16-mixed"), ("resnet18", "32-true"), ("resnet18", "bf16-mixed"),
    ]  # fmt: skip
    for row in rows:  # from numbers that are whole ones here, and small on a busy machine
        fit, alone = row["fit, images/s"], row["network alone, images/s"]
        low, high = (fit - 0.5) / (alone + 0.5), (fit + 0.5) / (alone - 0.5)
        assert low - 0.006 <= row["ratio"] <= high + 0.006
