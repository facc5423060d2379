"""Relative paths of a run are found again from another working directory."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from project.runs.stored_paths import STARTED_IN, resolve_paths, started_in


@pytest.fixture
def places(tmp_path, monkeypatch):
    """`here/runs/r/version_0`, started in `here`, with files beside it; and `there`, which is the working directory."""
    for name in (
        "here/teacher.ckpt",
        "here/data/a.png",
        "here/ema.txt",
        "there/teacher.ckpt",
        "here/runs/r/version_0/config.yaml",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    run = tmp_path / "here/runs/r/version_0"
    monkeypatch.chdir(tmp_path / "here")
    place = started_in(run)
    monkeypatch.chdir(tmp_path / "there")
    return tmp_path, run, place


def options() -> dict:
    return {
        "hyper_parameters": {
            "teacher": ["teacher.ckpt", "resnet34:DEFAULT"],
            "decoding": {"ensemble": ["teacher.ckpt"]},
        },
        "config": {
            "model": {"init_args": {"teacher": "teacher.ckpt", "init_from": None, "backbone": "data"}},
            "data": {"init_args": {"root": "data", "table": "absent.csv"}},
        },
    }


def test_resolve_paths_names_the_files_of_the_run(places):
    root, run, place = places
    assert not os.path.isabs(place)
    checkpoint = options() | {STARTED_IN: place}
    resolve_paths(checkpoint, run / "checkpoints" / "best.ckpt")
    teacher = os.path.join("..", "here", "teacher.ckpt")
    assert Path(teacher).resolve() == root / "here" / "teacher.ckpt"  # and not the one of this directory
    assert checkpoint["hyper_parameters"] == {
        "teacher": [teacher, "resnet34:DEFAULT"], "decoding": {"ensemble": [teacher]},
    }  # fmt: skip
    assert checkpoint["config"] == {
        "model": {"init_args": {"teacher": teacher, "init_from": None, "backbone": "data"}},
        "data": {"init_args": {"root": os.path.join("..", "here", "data"), "table": "absent.csv"}},
    }


@pytest.mark.parametrize("kind", ["the same directory", "an earlier version", "copied out of its run"])
def test_resolve_paths_leaves_them_where_nothing_is_to_be_done(places, monkeypatch, kind):
    root, run, place = places
    path = run / "checkpoints" / "best.ckpt"
    checkpoint = options() | {STARTED_IN: place}
    if kind == "the same directory":
        monkeypatch.chdir(root / "here")
    elif kind == "an earlier version":
        del checkpoint[STARTED_IN]
    else:
        path = root / "there" / "x" / "best.ckpt"
    resolve_paths(checkpoint, path)
    assert {name: checkpoint[name] for name in options()} == options()
