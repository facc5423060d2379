"""From a subject to `report.json` and `report.html`, section by section."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml

from project.analysis.bootstrap import RESAMPLES
from project.analysis.report.accuracy import accuracy_section, confusion_section
from project.analysis.report.calibration import calibration_section
from project.analysis.report.captions import captions_section, examples_section
from project.analysis.report.cost import cost_section
from project.analysis.report.document import Section
from project.analysis.report.explanation import explanation_section
from project.analysis.report.groups import groups_section
from project.analysis.report.page import render
from project.analysis.report.robustness import robustness_section
from project.analysis.report.subject import Subject
from project.data.images import open_rgb
from project.errors import ConfigError, RunError, did_you_mean
from project.files import write_text
from project.redaction import hide_secrets
from project.yaml_files import dump_json

SCHEMA = 1
_Maker = Callable[[Subject], Section]

CLASSIFIER_SECTIONS: dict[str, _Maker] = {
    "accuracy": accuracy_section,
    "confusion": confusion_section,
    "calibration": calibration_section,
    "robustness": robustness_section,
    "groups": groups_section,
    "explanations": explanation_section,
    "cost": cost_section,
}
CAPTIONER_SECTIONS: dict[str, _Maker] = {
    "captions": captions_section,
    "examples": examples_section,
    "groups": groups_section,
    "cost": cost_section,
}
_LONG = ("class_names", "vocabulary")  # facts that would hide the others


def choose_sections(subject: Subject, names: Iterable[str] = ()) -> dict[str, _Maker]:
    """The sections of these names, in their own order; all of them where none is named.

    Raises:
        ConfigError: the subject has no such section.
    """
    known = CAPTIONER_SECTIONS if subject.captions else CLASSIFIER_SECTIONS
    wanted = list(names) or list(known)
    for name in wanted:
        if name not in known:
            raise ConfigError(f"--sections: a report of a {type(subject.task).__name__} has no '{name}'; "
                              f"{did_you_mean(name, known)}")  # fmt: skip
    return {name: make for name, make in known.items() if name in wanted}


def check_inputs(subject: Subject, folder: Path) -> None:
    """Looks at all that the user gave, before minutes of work: groups, images, and the folder, which is made.

    Raises:
        UserError: one of them cannot be used.
    """
    if subject.images and subject.captions:
        raise ConfigError("--images: explanations are made of classifiers; leave it out")
    _ = subject.groups
    for image in subject.images:
        open_rgb(image, value_range=subject.task.value_range)
    _make(folder)


def make_sections(subject: Subject, sections: dict[str, _Maker]) -> Iterator[Section]:
    """One after the other, so that progress can be shown."""
    for make in sections.values():
        yield make(subject)


def facts_of(subject: Subject, checkpoint: dict[str, Any], provenance: dict[str, Any]) -> dict[str, Any]:
    """What a report is of, and where it was made, of plain JSON types.

    Args:
        subject: the network and its data.
        checkpoint: the content of its file, of which weights are not needed.
        provenance: as `collect_provenance` gives it.
    """
    task = subject.task
    with open(subject.checkpoint, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    facts = {name: value for name, value in checkpoint["hyper_parameters"].items() if name not in _LONG}
    size = (
        {"vocabulary_size": len(subject.captioner.vocabulary)}
        if subject.captions
        else {"classes": len(subject.classifier.class_names)}
    )
    return {
        "schema": SCHEMA,
        "checkpoint": {
            "path": str(subject.checkpoint),
            "sha256": digest,
            "task": type(task).__name__,
            "epoch": checkpoint["epoch"],
            "step": checkpoint["global_step"],
            "image_size": task.image_size,
            **size,
            "options": yaml.safe_dump(hide_secrets(facts), sort_keys=False),
            "config": yaml.safe_dump(hide_secrets(_shortened(checkpoint.get("config") or {})), sort_keys=False),
        },
        "split": subject.split,
        "samples": subject.num_samples,
        "seed": subject.seed,
        "resamples": RESAMPLES,
        "device": str(task.device),
        "precision": task.precision,
        "provenance": provenance,
    }


def write_report(folder: Path, facts: dict[str, Any], sections: list[Section]) -> tuple[Path, Path]:
    """Writes `report.html` and `report.json` into a folder that is made if need be, each whole or not at all.

    Returns:
        Their paths.

    Raises:
        RunError: the folder cannot be written.
    """
    content = {**facts, "sections": {section.name: section.plain() for section in sections}}
    page, numbers = folder / "report.html", folder / "report.json"
    _make(folder)
    try:
        write_text(numbers, dump_json(content, indent=1) + "\n")
        write_text(page, render(facts, sections))
    except OSError as error:
        raise _unwritable(folder, error) from None
    return page, numbers


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(folder, error) from None


def _unwritable(folder: Path, error: OSError) -> RunError:
    return RunError(f"--output: {folder}: cannot be written ({error.strerror}); choose another folder")


def _shortened(config: dict[str, Any]) -> dict[str, Any]:
    """Without lists that would hide the rest."""
    return {
        name: _shortened(value) if isinstance(value, dict) else value
        for name, value in config.items()
        if name not in _LONG
    }
