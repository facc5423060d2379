"""What a captioner says of a split, beside the command `test`."""

from __future__ import annotations

import dataclasses
import json
import math
import time

import pytest
import torch

from project.analysis.caption_outcomes import collect_captions, searching
from project.data import KarpathyCaptions
from project.tasks import Captioner


@pytest.fixture
def captioner(captioner_run):
    return Captioner.load_from_checkpoint(captioner_run / "checkpoints" / "best.ckpt")


@pytest.fixture
def data(captioned):
    return KarpathyCaptions(
        annotations=str(captioned / "captions.json"), images=str(captioned), image_size=16, max_words=8
    )


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_scores_are_those_of_the_command(run, captioner_run, captioner, data, captioned, precision):
    where = ["--data.annotations", captioned / "captions.json", "--data.images", captioned]
    assert run("test", "--ckpt_path", captioner_run, *where, "--trainer.precision", precision) == 0
    captioner.precision = precision
    expected = json.loads((captioner_run / "test_metrics.json").read_text())
    said = collect_captions(captioner, data)
    greedy = collect_captions(captioner, data, "test", dataclasses.replace(captioner.search.decoding, search="greedy"))
    for name, score in said.scores.items():
        assert score == pytest.approx(expected[f"test/{name}"], abs=1e-6), name
    for name, score in greedy.scores.items():
        if name != "cut_rate":
            assert score == pytest.approx(expected[f"test/greedy_{name}"], abs=1e-6), name


def test_scores_of_the_images_have_the_mean_of_the_split(captioner, data):
    said = collect_captions(captioner, data, "val")
    assert len(said) == len(said.references) == len(data.splits["val"]) == 12
    for name in ("cider_d", "rouge_l", "exact_match"):
        assert getattr(said, name).mean().item() == pytest.approx(said.scores[name], abs=1e-9)
    exact = [caption in [text.lower().rstrip(".") for text in texts]
             for caption, texts in zip(said.captions, said.references, strict=True)]  # fmt: skip
    assert said.exact_match.tolist() == [float(right) for right in exact]
    lengths = [sum(len(text.split()) for text in texts) / len(texts) for texts in said.references]
    assert said.reference_words.tolist() == pytest.approx(lengths)
    assert said.seconds > 0


def test_the_first_search_of_a_network_is_no_part_of_the_time(captioner, data, monkeypatch):
    answers, calls = captioner.answers, []

    def slow_at_first(images):
        time.sleep(0.0 if calls else 1.0)
        calls.append(len(images))
        return answers(images)

    monkeypatch.setattr(captioner, "answers", slow_at_first)
    said = collect_captions(captioner, data, "val")
    assert sum(calls) == calls[0] + len(said)
    assert said.seconds * len(said) < 1.0


def test_probabilities_are_those_of_predictions(captioner, data):
    said = collect_captions(captioner, data)
    (answer,) = captioner.predict([data.splits["test"].images[0]])
    assert said.captions[0] == answer["caption"]
    assert said.log_probability[0].item() == pytest.approx(answer["log_probability"], abs=1e-5)
    tokens = len(answer["words"]) + answer["finished"]
    assert said.word_probability[0].item() == pytest.approx(math.exp(answer["log_probability"] / tokens), rel=1e-4)


def test_another_search_is_for_a_while(captioner):
    own = captioner.search
    greedy = dataclasses.replace(own.decoding, search="greedy")
    with searching(captioner, greedy):
        assert captioner.search.decoding is greedy
        assert captioner.search.networks == own.networks
    assert captioner.search is own


def test_collect_captions_computes_in_the_precision_of_the_captioner(captioner, data):
    full = collect_captions(captioner, data, "val").log_probability
    captioner.precision = "bf16-mixed"
    assert not torch.equal(full, collect_captions(captioner, data, "val").log_probability)
