"""R14: the captions that are found are the ones that their probabilities say."""

from __future__ import annotations

import json
from math import isclose

import pytest

PROMISE = "R14"


@pytest.fixture
def said(start, wholes, captioned, tmp_path):
    """What a captioner says of all drawings: (task, options of its search)."""

    def predict(task: str, **options: object) -> list[dict]:
        root = tmp_path / f"runs-{len(list(tmp_path.iterdir()))}"
        given = [text for name, value in options.items() for text in (f"--model.decoding.{name}", value)]
        command = start(
            ["predict", "--ckpt_path", wholes.run(task), "--data.predict", captioned, "--trainer.precision", "32-true",
             "--trainer.default_root_dir", root, "--name", "p", *given]
        )  # fmt: skip
        assert command.wait() == 0, command.output
        text = (root / "p" / "version_0" / "predictions.jsonl").read_text()
        return [json.loads(line) for line in text.splitlines()]

    return predict


@pytest.mark.parametrize("task", ["Captioner", "CaptionDistiller"])
def test_a_beam_of_one_is_greedy_and_a_wider_one_finds_no_less(said, task):
    greedy = said(task, search="greedy", num_hypotheses=1)
    narrow = said(task, beam_size=1, num_hypotheses=1)
    wide = said(task, beam_size=40, num_hypotheses=1, length_penalty="none")
    assert [row["caption"] for row in greedy] == [row["caption"] for row in narrow]
    better = [wide_row["log_probability"] - row["log_probability"] for wide_row, row in zip(wide, greedy, strict=True)]
    assert min(better) > -1e-4
    for row in greedy + wide:
        words = sum(word["log_probability"] for word in row["words"])
        # what is left is the end's
        assert (
            row["log_probability"] <= words + 1e-4
            if row["finished"]
            else isclose(row["log_probability"], words, abs_tol=1e-4)
        )
        assert len(row["words"]) <= 8 + (not row["finished"])  # it is cut behind the word that is too many
