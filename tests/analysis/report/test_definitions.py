"""The glossary."""

from __future__ import annotations

from typing import get_args

from project.analysis.report.definitions import DEFINITIONS, Form


def test_each_definition_is_a_sentence_with_a_title():
    for name, (title, text, form) in DEFINITIONS.items():
        assert title, name
        assert text.endswith("."), name
        assert text[0].isupper() or text[0] in "εP", name
        assert len(text) < 500, name
        assert form in get_args(Form), name


def test_one_title_says_one_thing_of_classifiers():
    names = ("accuracy", "clean_accuracy", "fgsm_accuracy", "pgd_accuracy", "corrupted_accuracy", "support", "samples")
    titles = [DEFINITIONS[name].title for name in names]
    assert len(set(titles)) == len(titles)
