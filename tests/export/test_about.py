"""What a file says of itself is what the checkpoint says, and survives JSON."""

from __future__ import annotations

import json

import pytest

from project import __version__
from project.export.about import describe
from project.export.subject import Subject


def test_of_a_classifier(classifier):
    about = describe(Subject(classifier(tta="flip", center_crop=0.875), None, "abc", {}))
    assert json.loads(json.dumps(about)) == about
    assert about["class_names"] == ["ant", "bee", "cow"]
    assert about["temperature"] == pytest.approx(0.1)
    assert (about["image_size"], about["center_crop"], about["views"]) == (16, 0.875, "flip")
    assert (about["project_version"], about["checkpoint_sha256"]) == (__version__, "abc")
    assert about["input"] == "images: uint8 (batch, 3, 16, 16), RGB, 0..255"
    assert about["output"] == "probabilities: float32 (batch, 3)"


def test_of_a_captioner(captioner):
    decoding = {"min_words": 2, "no_repeat_ngram": 3, "unknown_words": False, "length_penalty": "gnmt", "alpha": 0.5}
    about = describe(Subject(captioner(decoding, bidirectional=True), None, "abc", {}))
    assert json.loads(json.dumps(about)) == about
    assert about["vocabulary"] == [
        "<pad>",
        "<start>",
        "<end>",
        "<unk>",
        "a",
        "dog",
        "cat",
        "on",
        "the",
        "grass",
        "runs",
    ]
    assert about["rules"] == {
        "start": 1, "end": 2, "max_length": 7, "min_length": 2, "banned": [0, 1, 3], "no_repeat_ngram": 3,
    }  # fmt: skip
    assert about["search"] == {"direction": "sum", "length_penalty": "gnmt", "alpha": 0.5}
    assert about["steps"] == ["step", "backward"]
