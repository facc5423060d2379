"""Blocks: what programs read of them, and what people see."""

from __future__ import annotations

import base64
import io
import json
import math

import numpy as np
import pytest
from PIL import Image

from project.analysis.bootstrap import Estimate
from project.analysis.report.document import (
    Data,
    Example,
    Examples,
    Note,
    Numbers,
    Picture,
    Section,
    Table,
    interval,
    shown,
)
from project.analysis.style import new_figure


def test_a_section_is_plain_json_without_pictures_and_notes():
    figure, _ = new_figure()
    table = Table("classes", ("class", "f1"), [["a", Estimate(0.5, 0.25, math.nan)], ["b", None]], "Classes", shown=0)
    example = Example.of(np.zeros((4, 4, 3), np.uint8), "said", "true", confidence=math.inf)
    blocks = [Numbers("all", {"samples": 3}), table, Data("confusion", [[1, 0]]), Picture.of(figure, "x"), Note("x")]
    section = Section("s", "S", "", [*blocks, Examples("worst", "Worst", [example])])
    plain = json.loads(json.dumps(section.plain(), allow_nan=False))
    assert plain == {
        "all": {"samples": 3},
        "classes": [{"class": "a", "f1": {"value": 0.5, "low": 0.25, "high": None}}, {"class": "b", "f1": None}],
        "confusion": [[1, 0]],
        "worst": [{"said": "said", "true": "true", "confidence": None}],
    }


@pytest.mark.parametrize(
    "make",
    [
        lambda: Table("t", ("class", "made_up"), [], "T"),
        lambda: Numbers("n", {"made_up": 1}),
        lambda: Data("made_up", []),
        lambda: Example.of(np.zeros((4, 4, 3), np.uint8), "", "", made_up=1.0),
    ],
)
def test_what_has_no_definition_is_an_error(make):
    with pytest.raises(AssertionError, match=r"no definition of .'made_up'"):
        make()


@pytest.mark.parametrize(
    ("value", "name", "text"),
    [
        (0.9723, "accuracy", "97.2 %"),
        (Estimate(0.01234, 0.01, 0.02), "ece", "1.23 %"),
        (math.nan, "accuracy", "–"),
        (None, "true_probability", "–"),
        (0.0123, "latency", "12.3 ms"),
        (2.5, "latency", "2.5 s"),
        (4.2e-5, "latency", "42 µs"),
        (464_842, "parameters", "464,842"),
        (9_636_352, "flops", "9.64 M"),
        (512, "file_bytes", "512"),
        (1911.4, "throughput", "1,911"),
        (24.68, "throughput", "24.7"),
        (0.5674, "bleu_4", "0.567"),
        ("<script>", "class", "<script>"),
    ],
)
def test_numbers_are_short(value, name, text):
    assert shown(value, name) == text


def test_intervals_are_shown_where_there_are_some():
    assert interval(Estimate(0.9, 0.85, 0.931), "accuracy") == "85.0 to 93.1 %"
    assert interval(Estimate(0.9, math.nan, math.nan), "accuracy") == ""
    assert interval(0.9, "accuracy") == ""


def test_pictures_are_in_the_page():
    figure, _ = new_figure(4, 2)
    picture = Picture.of(figure, "a text", "a caption")
    assert (picture.width, picture.height) == (384, 192)
    content = Image.open(io.BytesIO(base64.b64decode(picture.source.removeprefix("data:image/png;base64,"))))
    assert content.size == (640, 320)
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    example = Example.of(pixels, "said", "true")
    again = Image.open(io.BytesIO(base64.b64decode(example.source.removeprefix("data:image/webp;base64,"))))
    assert (np.asarray(again.convert("RGB")) == pixels).all()
    assert example.sharp
    assert not Example.of(np.zeros((97, 97, 3), np.uint8), "", "").sharp
