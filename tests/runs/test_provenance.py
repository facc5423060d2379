"""A run says which command, commit, versions, machine and data it comes from."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import pytest
import torch

from project.runs import provenance
from project.runs.directory import RunDirectory
from project.runs.provenance import append_provenance, collect_provenance

DATA = {"train": {"samples": 3, "fingerprint": "ab"}}


def git(*arguments: str) -> str:
    folder = Path(__file__).parents[2]
    return subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True).stdout.strip()


def test_what_is_collected():
    command = ["fit", "--data.root", "my photos", "--name", "it's"]
    checkpoint = {"file": "best.ckpt", "steps": 7}
    entry = collect_provenance(command, DATA, checkpoint)
    assert entry["checkpoint"] == checkpoint
    assert shlex.split(entry["command"]) == ["python", "-m", "project", *command]
    assert entry["data"] == DATA
    assert entry["libraries"]["torch"] == metadata.version("torch")
    assert entry["libraries"]["lightning"] == metadata.version("lightning")
    assert entry["python"] == ".".join(map(str, sys.version_info[:3]))
    assert entry["hardware"]["cores"] == os.cpu_count()
    assert entry["hardware"]["cpu"]
    assert len(entry["hardware"]["gpus"]) == torch.cuda.device_count()
    age = datetime.now(UTC) - datetime.fromisoformat(entry["time"])
    assert 0 <= age.total_seconds() < 60
    assert json.loads(json.dumps(entry)) == entry


def test_the_commit_and_whether_it_is_clean():
    changed = git("status", "--porcelain", "--untracked-files=no")
    assert collect_provenance([], {})["git"] == {"commit": git("rev-parse", "HEAD"), "clean": changed == ""}


def test_without_a_checkout_or_without_git_there_is_no_commit(monkeypatch, tmp_path):
    with monkeypatch.context() as patch:
        patch.setattr(provenance, "__file__", str(tmp_path / "provenance.py"))
        assert collect_provenance([], {})["git"] is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert collect_provenance([], {})["git"] is None


def test_every_start_adds_an_entry(tmp_path):
    run = RunDirectory.create(tmp_path, "r")
    entries = [{"number": number, "time": "2026-01-01T00:00:00+00:00", "command": "fit"} for number in range(3)]
    for entry in entries:
        append_provenance(run, entry)
    assert json.loads((run.path / "provenance.json").read_text()) == entries
    assert sorted(path.name for path in run.path.iterdir()) == ["checkpoints", "provenance.json"]


@pytest.mark.parametrize(
    "text",
    [
        "", "[", "{}", "3", "[3]", "[" * 9999, '[{"time": "2026-01-01T00:00:00"}]', '[{"command": "fit"}]',
        '[{"time": "2026-02-30T00:00:00", "command": "fit"}]', '[{"time": 5, "command": "fit"}]',
        '[{"time": "2026-01-01T00:00:00", "command": ["fit"]}]',
    ],
)  # fmt: skip
def test_append_provenance_to_a_damaged_file_begins_anew_and_keeps_the_other(tmp_path, text):
    run = RunDirectory.create(tmp_path, "r")
    (run.path / "provenance.json").write_text(text)
    append_provenance(run, {"time": "2026-01-01T00:00:00", "command": "fit"})
    assert (run.path / "provenance.json.damaged_1").read_text() == text
    assert len(json.loads((run.path / "provenance.json").read_text())) == 1


def test_a_fit_and_what_follows_are_all_noted(run, trained, trained_images):
    assert run("test", "--ckpt_path", trained) == 0
    assert run("predict", "--ckpt_path", trained, "--data.predict", trained_images) == 0
    fit, test, predict = json.loads((trained / "provenance.json").read_text())
    assert fit["command"].startswith("python -m project fit --model Classifier ")
    assert {split: value["samples"] for split, value in fit["data"].items()} == {"train": 48, "val": 6, "test": 6}
    assert test["data"] == fit["data"]
    assert predict["data"] == {"predict": str(trained_images)}


def test_collect_provenance_secrets_of_the_command_are_hidden():
    entry = collect_provenance(["fit", "--a.tracking_uri=http://u:hunter2@h", "--b.api_key", "hunter2"], DATA)
    assert "hunter2" not in json.dumps(entry)
    assert shlex.split(entry["command"])[3:] == ["fit", "--a.tracking_uri=http://u:***@h", "--b.api_key", "***"]
