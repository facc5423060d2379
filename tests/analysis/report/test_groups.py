"""The section on groups, of classifiers and of captioners."""

from __future__ import annotations

import pytest
import torch

from project.analysis.groups import Groups, group_means
from project.analysis.report.groups import _worst, groups_section


def test_without_groups_it_says_how_to_name_them(subject):
    section = groups_section(subject)
    assert section.plain() == {}
    assert "--groups FILE.csv" in section.blocks[0].text


def test_groups_of_a_classifier(subject, trained_images, tmp_path):
    rows = [f"{path},{'even' if int(path.stem) % 2 == 0 else 'odd'}" for path in trained_images.rglob("*.png")]
    subject.groups_file = tmp_path / "groups.csv"
    subject.groups_file.write_text("\n".join(["path,number", *rows]))
    plain = groups_section(subject).plain()
    outcomes = subject.outcomes
    accuracies = {}
    for row in plain["all"]:
        among = [int(name[-5]) % 2 == (row["group"] == "odd") for name in outcomes.names]
        correct = [right for right, inside in zip(outcomes.correct.tolist(), among, strict=True) if inside]
        accuracies[row["group"]] = sum(correct) / len(correct)
        assert row["support"] == len(correct)
        assert row["accuracy"]["value"] == pytest.approx(accuracies[row["group"]])
    (gap,) = plain["gaps"]
    assert gap["attribute"] == "number"
    assert gap["worst_accuracy"]["value"] == pytest.approx(min(accuracies.values()))
    assert accuracies[gap["worst_group"]] == min(accuracies.values())
    assert gap["accuracy_gap"]["value"] == pytest.approx(max(accuracies.values()) - min(accuracies.values()))


def test_groups_of_a_captioner(caption_subject, captioned, tmp_path):
    rows = [f"{path},{path.name.split('_')[0]}" for path in captioned.glob("*.png")]
    caption_subject.groups_file = tmp_path / "groups.csv"
    caption_subject.groups_file.write_text("\n".join(["path,colour", *rows]))
    plain = groups_section(caption_subject).plain()
    said = caption_subject.said
    assert [row["group"] for row in plain["all"]] == ["blue", "green", "red", "white"]
    for row in plain["all"]:
        inside = [i for i, name in enumerate(caption_subject.names) if f"/{row['group']}_" in name]
        assert row["support"] == len(inside) == 3
        assert row["cider_d"]["value"] == pytest.approx(said.cider_d[inside].mean().item())
        assert row["exact_match"]["value"] == pytest.approx(said.exact_match[inside].mean().item())
        assert row["words"] == pytest.approx(said.reference_words[inside].mean().item())
    scores = [row["cider_d"]["value"] for row in plain["all"]]
    assert plain["gaps"][0]["worst_cider"]["value"] == pytest.approx(min(scores))
    assert plain["gaps"][0]["cider_gap"]["value"] == pytest.approx(max(scores) - min(scores))


def test_the_worst_group_is_one_that_has_samples():
    groups = Groups(["none", "good", "bad"], torch.tensor([[False] * 3, [True, False, False], [False, True, True]]))
    found = group_means(torch.tensor([1.0, 0.0, 1.0]), groups)
    assert _worst(groups, found) == "bad"
    assert found.worst.value == 0.5
