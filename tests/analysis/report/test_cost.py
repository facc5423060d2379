"""The section on cost."""

from __future__ import annotations

import pytest

from project.analysis.report.cost import cost_section
from project.analysis.report.subject import Subject
from project.tasks import Captioner


def test_a_classifier(subject):
    plain = cost_section(subject).plain()
    assert plain["all"]["parameters"] == sum(p.numel() for p in subject.task.network.parameters())
    assert plain["all"]["file_bytes"] == subject.checkpoint.stat().st_size
    assert plain["all"]["flops"] > 10_000
    assert [row["batch_size"] for row in plain["speed"]] == [1, 2, 4, 8, 16, 32, 64, 128]
    for row in plain["speed"]:
        assert row["throughput"] == pytest.approx(row["batch_size"] / row["latency"])


def test_an_ensemble_is_all_its_networks(caption_subject):
    path = caption_subject.checkpoint
    twice = Captioner.load_from_checkpoint(path, decoding={"ensemble": [str(path)], "beam_size": 3})
    one, two = (
        cost_section(Subject(task, caption_subject.data, path)).plain() for task in (caption_subject.task, twice)
    )
    assert two["all"]["parameters"] == 2 * one["all"]["parameters"]


def test_a_captioner_is_asked_for_captions(caption_subject):
    plain = cost_section(caption_subject).plain()
    assert plain["speed"][0]["latency"] > 0
    assert plain["all"]["flops"] > 0
