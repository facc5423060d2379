"""From a subject to two files that say the same."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator

import pytest

from project.analysis.report.build import check_inputs, choose_sections, facts_of, make_sections, write_report
from project.analysis.report.definitions import DEFINITIONS
from project.errors import ConfigError, RunError, UserError
from project.runs.checkpoints import read_checkpoint
from project.runs.provenance import collect_provenance

ESTIMATE = {"value", "low", "high"}


def numbers_in(content: object, name: str = "") -> Iterator[str]:
    """The names that numbers stand below, of which an estimate's ends are one."""
    if isinstance(content, dict):
        for key, value in content.items():
            yield from numbers_in(value, name if content.keys() == ESTIMATE else key)
    elif isinstance(content, list):
        for value in content:
            yield from numbers_in(value, name)
    elif isinstance(content, (int, float)) and not isinstance(content, bool):
        yield name


def report_of(subject, folder):
    facts = facts_of(subject, read_checkpoint(subject.checkpoint), collect_provenance([], subject.data.fingerprint()))
    sections = list(make_sections(subject, choose_sections(subject)))
    page, numbers = write_report(folder, facts, sections)
    return page.read_text(), json.loads(numbers.read_text(), parse_constant=pytest.fail)


def test_every_number_of_a_classifiers_report_has_a_definition(subject, tmp_path):
    page, content = report_of(subject, tmp_path / "new" / "folder")
    assert list(content["sections"]) == [
        "accuracy", "confusion", "calibration", "robustness", "groups", "explanations", "cost",
    ]  # fmt: skip
    names = set(numbers_in(content))
    assert len(names) > 30
    assert names <= DEFINITIONS.keys()
    assert all(f'id="{name}"' in page for name in content["sections"])
    assert content["checkpoint"]["sha256"] == hashlib.sha256(subject.checkpoint.read_bytes()).hexdigest()
    assert content["checkpoint"]["classes"] == 3
    assert "class_names" not in content["checkpoint"]["options"]
    assert content["provenance"]["data"]["test"]["samples"] == content["samples"] == 6
    assert sorted(path.name for path in (tmp_path / "new" / "folder").iterdir()) == ["report.html", "report.json"]


def test_every_number_of_a_captioners_report_has_a_definition(caption_subject, tmp_path):
    page, content = report_of(caption_subject, tmp_path)
    assert list(content["sections"]) == ["captions", "examples", "groups", "cost"]
    names = set(numbers_in(content))
    assert len(names) > 30
    assert names <= DEFINITIONS.keys()
    assert "vocabulary" not in content["checkpoint"]["options"]
    assert content["checkpoint"]["vocabulary_size"] == len(caption_subject.task.vocabulary)
    assert "The worst captions" in page


def test_sections_are_chosen_by_name_in_their_own_order(subject, caption_subject):
    assert list(choose_sections(subject, ["cost", "accuracy"])) == ["accuracy", "cost"]
    with pytest.raises(
        ConfigError, match="--sections: a report of a Classifier has no 'acuracy'; did you mean 'accuracy'"
    ):
        choose_sections(subject, ["acuracy"])
    with pytest.raises(ConfigError, match="a report of a Captioner has no 'robustness'"):
        choose_sections(caption_subject, ["robustness"])


@pytest.mark.parametrize("given", ["groups_file", "images", "folder"])
def test_what_cannot_be_used_is_found_before_anything_is_measured(subject, tmp_path, given):
    (tmp_path / "file").write_text("no image, no table and no folder")
    if given == "groups_file":
        subject.groups_file = tmp_path / "file"
    elif given == "images":
        subject.images = [tmp_path / "file"]
    with pytest.raises(UserError):
        check_inputs(subject, tmp_path / ("file" if given == "folder" else "out"))


def test_explanations_are_not_of_captioners(caption_subject, captioned, tmp_path):
    caption_subject.images = [next(captioned.rglob("*.png"))]
    with pytest.raises(UserError, match=r"^--images: explanations are made of classifiers; leave it out$"):
        check_inputs(caption_subject, tmp_path)


def test_a_folder_that_cannot_be_written_is_the_users(subject, tmp_path):
    (tmp_path / "file").write_text("in the way")
    facts = facts_of(subject, read_checkpoint(subject.checkpoint), collect_provenance([], subject.data.fingerprint()))
    with pytest.raises(RunError, match=r"--output: .*file: cannot be written"):
        write_report(tmp_path / "file", facts, [])
