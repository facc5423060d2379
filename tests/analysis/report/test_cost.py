"""The section on cost."""

from __future__ import annotations

import pytest

from project.analysis.report.cost import cost_section


def test_a_classifier(subject):
    plain = cost_section(subject).plain()
    assert plain["all"]["parameters"] == sum(p.numel() for p in subject.task.network.parameters())
    assert plain["all"]["file_bytes"] == subject.checkpoint.stat().st_size
    assert plain["all"]["flops"] > 10_000
    assert [row["batch_size"] for row in plain["speed"]] == [1, 2, 4, 8, 16, 32, 64, 128]
    for row in plain["speed"]:
        assert row["throughput"] == pytest.approx(row["batch_size"] / row["latency"])


def test_a_captioner_is_asked_for_captions(caption_subject):
    plain = cost_section(caption_subject).plain()
    assert plain["speed"][0]["latency"] > 0
    assert plain["all"]["flops"] > 0
