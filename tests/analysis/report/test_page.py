"""The page: valid, without network and script, and nothing of the data is markup in it."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from project.analysis.bootstrap import Estimate
from project.analysis.report.definitions import DEFINITIONS
from project.analysis.report.document import Example, Examples, Note, Numbers, Picture, Section, Table
from project.analysis.report.page import render
from project.analysis.style import new_figure

NASTY = '<script>alert("x")</script>{{ 7 * 7 }}&\''
VOID = {"meta", "img", "br"}


class Parsed(HTMLParser):
    """Elements with their attributes, and the text; fails where tags do not match."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict]] = []
        self.words = ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.words += data

    def all(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture
def facts():
    data = {"test": {"samples": 3, "fingerprint": "abc"}}
    libraries, hardware = {"torch": "2"}, {"cpu": NASTY, "cores": 2, "threads": 1, "gpus": []}
    return {
        "checkpoint": {"path": f"/runs/{NASTY}/version_0/checkpoints/best.ckpt", "sha256": "00", "task": "Classifier",
                       "epoch": 1, "step": 2000, "image_size": 8, "options": NASTY, "config": NASTY},
        "split": "test", "samples": 3, "seed": 0, "resamples": 1000, "device": "cpu", "precision": "32-true",
        "provenance": {"git": None, "hardware": hardware, "data": data, "time": "now", "command": NASTY,
                       "python": "3", "libraries": libraries},
    }  # fmt: skip


@pytest.fixture
def sections():
    figure, _ = new_figure()
    example = Example.of(np.zeros((4, 4, 3), np.uint8), NASTY, NASTY, file=NASTY, confidence=0.5)
    rows = [[NASTY, 3, Estimate(0.5, 0.25, 0.75)]] + [[f"class {i}", 1, 0.5] for i in range(50)]
    return [
        Section("one", NASTY, NASTY, [Numbers("all", {"accuracy": Estimate(0.9, 0.8, 1.0)}), Note(NASTY)]),
        Section("two", "Two", "", [
            Picture.of(figure, NASTY, NASTY),
            Table("classes", ("class", "support", "f1"), rows, NASTY),
            Table("hidden", ("attribute", "group"), [["secret", "x"]], "Hidden", 0),
            Table("none", ("corruption",), [], "Empty"),
            Examples("worst", NASTY, [example]),
        ]),
    ]  # fmt: skip


def test_it_is_well_formed_and_asks_for_nothing(facts, sections):
    text = render(facts, sections)
    page = Parsed(text)
    assert page.all("script") == page.all("link") == page.all("iframe") == []
    assert not any(name.startswith("on") for _, attributes in page.elements for name in attributes)
    assert not any("style" in attributes for _, attributes in page.elements)
    assert all(image["src"].startswith("data:image/") for image in page.all("img"))
    assert all(link["href"].startswith("#") for link in page.all("a"))
    assert "http:" not in text
    assert "https:" not in text


def test_its_policy_allows_its_own_style_alone(facts, sections):
    text = render(facts, sections)
    (policy,) = [meta["content"] for meta in Parsed(text).all("meta") if "http-equiv" in meta]
    style = re.search("<style>(.*?)</style>", text, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy == (
        f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )


def test_what_comes_from_data_is_text(facts, sections):
    text = render(facts, sections)
    assert "<script>alert" not in text
    page = Parsed(text)
    assert page.words.count(NASTY) >= 10
    assert any(image["alt"] == NASTY for image in page.all("img"))


def test_every_name_has_its_definition_at_hand_and_at_the_end(facts, sections):
    page = Parsed(render(facts, sections))
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = {button["popovertarget"] for button in page.all("button")}
    names = {"accuracy", "class", "support", "f1", "file", "confidence", "interval"}
    assert names <= {target.removeprefix("about-") for target in targets}
    assert targets <= set(ids)
    popovers = [attributes["id"] for _, attributes in page.elements if "popover" in attributes]
    assert {f"about-{name}" for name in names} <= set(popovers)
    for name in names:
        assert page.words.count(DEFINITIONS[name].text) == 2
    assert "secret" not in page.words


def test_long_tables_are_cut_and_say_so(facts, sections):
    page = Parsed(render(facts, sections))
    assert "These are 40 of 51; all are in report.json." in page.words
    assert "class 38" in page.words
    assert "class 39" not in page.words
    assert "There are none." in page.words


def test_numbers_and_intervals_are_there(facts, sections):
    words = Parsed(render(facts, sections)).words
    assert "90.0 %" in words
    assert "80.0 to 100.0 %" in words
