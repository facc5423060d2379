"""The command that scores files of captions, as a user runs it."""

from __future__ import annotations

import json
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
