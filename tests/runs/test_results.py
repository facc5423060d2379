"""Results of each checkpoint in files of their own, of which none is lost."""

from __future__ import annotations

import json

import pytest

from project.runs.directory import RunDirectory
from project.runs.results import metrics_text, replace_results, results_path


@pytest.mark.parametrize(
    ("checkpoint", "name"),
    [
        ("r/version_0/checkpoints/best.ckpt", "test_metrics.json"),
        (None, "test_metrics.json"),
        ("r/version_1/checkpoints/last.ckpt", "test_metrics.json"),  # of another run
        ("r/version_0/checkpoints/last.ckpt", "test_metrics_last.json"),
        ("r/version_0/checkpoints/student.ckpt", "test_metrics_student.json"),
        ("r/version_0/checkpoints/epoch=3.5.ckpt", "test_metrics_epoch=3.5.json"),
    ],
)
def test_results_path_each_checkpoint_of_a_run_has_its_own(tmp_path, monkeypatch, checkpoint, name):
    monkeypatch.chdir(tmp_path)
    run = RunDirectory.create(tmp_path, "r")
    assert results_path(run, "test", "metrics.json", checkpoint) == run.path / name


def test_replace_results_keeps_earlier_ones_that_differ(tmp_path, capsys):
    run = RunDirectory.create(tmp_path, "r")
    for name in ("test_metrics.json", "test_metrics_{}.json"):
        for text in ("1", "1", "2", "3"):
            replace_results(run, run.path / name, text)
        stem = name.removesuffix(".json")
        found = {
            path.name: path.read_text() for path in run.path.glob(f"{stem}*") if "{" in path.name or "{" not in stem
        }
        assert found | {name: "3", f"{stem}.earlier_1.json": "1", f"{stem}.earlier_2.json": "2"} == found
    assert (
        f"{run.path / 'test_metrics.json'}: earlier results are kept as test_metrics.earlier_1.json"
        in capsys.readouterr().out
    )


def test_metrics_text_names_the_checkpoint_and_the_precision():
    found = json.loads(metrics_text({"test/loss": 0.5}, "a/last.ckpt", "bf16-mixed"))
    assert found == {"checkpoint": "last.ckpt", "precision": "bf16-mixed", "test/loss": 0.5}
    assert json.loads(metrics_text({}, None, "32-true"))["checkpoint"] is None
