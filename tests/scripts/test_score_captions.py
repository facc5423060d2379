"""The command that scores files of captions, as a user runs it."""

from __future__ import annotations

import json
import os
from functools import partial

import pytest


@pytest.fixture
def score(tmp_path, script):
    """Runs the script; returns its status and what it printed."""
    references = {
        "images": [{"id": 1}, {"id": 2}],
        "annotations": [{"image_id": 1, "caption": "A dog runs."}, {"image_id": 2, "caption": "A cat sleeps."}],
    }
    (tmp_path / "references.json").write_text(json.dumps(references))
    results = [{"image_id": 1, "caption": "a dog runs"}, {"image_id": 2, "caption": "a cat"}]
    (tmp_path / "results.json").write_text(json.dumps(results))
    return partial(script, "score_captions", "--references", "references.json")


def test_it_prints_a_table_and_writes_one_flat_object(score, tmp_path):
    status, out, _ = score("--predictions", "results.json", "--output", "scores.json")
    assert status == 0
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert {"bleu_1", "bleu_2", "bleu_3", "bleu_4", "rouge_l", "cider_d", "exact_match"} <= scores.keys()
    assert scores["exact_match"] == 0.5
    assert out.splitlines()[0] == "2 images of 2"
    assert f"cider_d             {scores['cider_d']:.4f}" in out.splitlines()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--predictions", "absent.json"], "error: --predictions: absent.json: there is no such file"),
        (["--predictions", "results.json", "--output", "no/such/folder.json"], "error: --output: no/such/folder.json"),
        (["--predictions", "references.json"], "error: --predictions: references.json: results are a list"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(score, options, message):
    status, out, err = score(*options)
    assert status == 2
    assert err.startswith(message)
    assert err.count("\n") == 1
    assert not out


def test_a_failure_of_java_is_one_line_and_keeps_the_other_scores(score, tmp_path, monkeypatch):
    java = tmp_path / "bin" / "java"
    java.parent.mkdir()
    java.write_text("#!/bin/sh\necho Could not reserve enough space >&2; exit 1\n")
    java.chmod(0o755)
    monkeypatch.setenv("PATH", str(java.parent), prepend=os.pathsep)
    options = ["--predictions", "results.json", "--output", "scores.json", "--java", "meteor"]
    status, out, err = score(*options)
    assert status == 1
    assert err == "error: meteor: METEOR's Java program failed: Could not reserve enough space\n"
    assert json.loads((tmp_path / "scores.json").read_text())["exact_match"] == 0.5
    assert "exact_match         0.5000" in out.splitlines()


def test_scores_that_are_no_number_are_null(score, tmp_path):
    (tmp_path / "results.json").write_text(json.dumps([{"image_id": 1, "caption": ""}, {"image_id": 2, "caption": ""}]))
    status, _, _ = score("--predictions", "results.json", "--output", "scores.json")
    scores = json.loads((tmp_path / "scores.json").read_text(), parse_constant=pytest.fail)
    assert (status, scores["distinct_1"], scores["mean_length"]) == (0, None, 0)


def test_predictions_of_predict_become_results_and_one_image_is_noted(score, tmp_path):
    references = {"images": [{"id": 5, "file_name": "a.png"}], "annotations": [{"image_id": 5, "caption": "a dog"}]}
    (tmp_path / "references.json").write_text(json.dumps(references))
    (tmp_path / "predictions.jsonl").write_text(json.dumps({"path": "photos/a.png", "caption": "a dog"}) + "\n")
    status, out, _ = score("--predictions", "predictions.jsonl", "--results", "coco.json")
    assert status == 0
    assert json.loads((tmp_path / "coco.json").read_text()) == [{"image_id": 5, "caption": "a dog"}]
    assert sum(line.startswith("note: cider_d is 0 because one image") for line in out.splitlines()) == 1
