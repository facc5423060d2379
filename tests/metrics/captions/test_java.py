"""METEOR and SPICE: their own programs where these are there, and one line where not."""

from __future__ import annotations

import importlib.util
import os
import shutil

import pytest

from project.errors import ConfigError
from project.metrics.captions import METEOR, SPICE
from project.metrics.captions.java import _utf8

PREDICTIONS = ["a dog on grass", "two men talking", "un café", "", "a || b"]
REFERENCES = [["a dog lies on the grass", "a brown dog"], ["two people talk"], ["a café"], ["nothing"], ["a b"]]

with_java = pytest.mark.skipif(not shutil.which("java"), reason="METEOR is a Java program, which needs a Java runtime")


@pytest.mark.parametrize("metric_class", [METEOR, SPICE])
def test_without_java_or_the_package_one_line_says_what_to_install(metric_class, monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ConfigError, match=f"{metric_class.__name__} .* install Java .*or leave it out"):
        metric_class()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"install Java .* and pycocoevalcap \(pip install 'pycocoevalcap>=1.2'\)"):
        metric_class()


@pytest.mark.parametrize(
    ("before", "inside"),
    [(None, "-Dfile.encoding=UTF-8"), ("-Xmx1g", "-Xmx1g -Dfile.encoding=UTF-8")],
)
def test_the_users_own_options_of_java_are_kept_and_come_back(monkeypatch, before, inside):
    monkeypatch.delenv("JAVA_TOOL_OPTIONS", raising=False)
    if before:
        monkeypatch.setenv("JAVA_TOOL_OPTIONS", before)
    with _utf8():
        assert os.environ["JAVA_TOOL_OPTIONS"] == inside
    assert os.environ.get("JAVA_TOOL_OPTIONS") == before


@pytest.mark.slow
@with_java
def test_meteor_equals_coco_captions():
    from pycocoevalcap.meteor.meteor import Meteor

    gts, res = dict(enumerate(REFERENCES[:2])), {i: [text] for i, text in enumerate(PREDICTIONS[:2])}
    program = Meteor()
    expected, per_image = program.compute_score(gts, res)
    program.meteor_p.stdout.close()
    program.meteor_p.stderr.close()
    metric = METEOR()
    metric.update(PREDICTIONS[:2], REFERENCES[:2])
    assert 0 < metric.compute().item() < 1
    assert metric.compute().item() == pytest.approx(expected, abs=1e-9)
    assert [score.item() for score in metric.per_image().values()] == pytest.approx(per_image, abs=1e-9)


@pytest.mark.slow
@with_java
def test_meteor_reads_accents_bars_and_nothing(monkeypatch):
    monkeypatch.setenv("LC_ALL", "C")
    metric = METEOR()
    metric.update(PREDICTIONS, REFERENCES)
    scores = [score.item() for score in metric.per_image().values()]
    assert scores[2] > 0.1, "café is café whatever the locale"
    assert scores[3] == 0
    assert scores[4] > 0.1


@with_java
def test_spice_whose_parser_is_out_of_reach_says_where_it_belongs(monkeypatch):
    from urllib.error import URLError

    from pycocoevalcap.spice import spice

    def unreachable() -> None:
        raise URLError("no route to host")

    monkeypatch.setattr(spice, "get_stanford_models", unreachable)
    with pytest.raises(ConfigError, match=r"SPICE: its parser .* \(no route to host\); put .*models.jar into .*lib"):
        SPICE()


@with_java
def test_nothing_scored_is_no_number():
    metric = METEOR()
    metric.update([], [])
    assert metric.compute().isnan()
    assert metric.per_image() == {}
