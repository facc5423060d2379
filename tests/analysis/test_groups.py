"""Scores of groups and the gaps between them, by brute force."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from project.analysis.groups import Groups, group_means, group_rates, rate_gaps, read_groups
from project.errors import DataError

VALUES = ["a", "b", None, "a", "c", "b", "a", "b", "c", "a", "a", "b"]


@pytest.fixture
def answers():
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(3, (12,), generator=generator)
    said = torch.where(torch.rand(12, generator=generator) < 0.6, labels, torch.randint(3, (12,), generator=generator))
    return said, labels


def test_groups_are_those_that_occur():
    groups = Groups.of(VALUES)
    assert groups.names == ["a", "b", "c"]
    assert groups.members.sum(1).tolist() == [5, 4, 2]
    assert not groups.members[:, 2].any()


def test_means_worst_and_gap_by_brute_force(answers):
    said, labels = answers
    groups, right = Groups.of(VALUES), said == labels
    found = group_means(right, groups, seed=4)
    means = [right[[v == name for v in VALUES]].double().mean().item() for name in groups.names]
    assert [estimate.value for estimate in found.scores] == pytest.approx(means, rel=1e-12)
    assert found.worst.value == pytest.approx(min(means), rel=1e-12)
    assert found.gap.value == pytest.approx(max(means) - min(means), rel=1e-12)
    # the same resamples, one after the other
    drawn = torch.randint(12, (1000, 12), generator=torch.Generator().manual_seed(4))
    gaps, worst = [], []
    for row in drawn.tolist():
        by_group = {}
        for i in row:
            by_group.setdefault(VALUES[i], []).append(float(right[i]))
        each = [np.mean(scores) for name, scores in by_group.items() if name is not None]
        gaps.append(max(each) - min(each))
        worst.append(min(each))
    assert found.gap[1:] == pytest.approx(np.quantile(gaps, (0.025, 0.975)), abs=1e-12)
    assert found.worst[1:] == pytest.approx(np.quantile(worst, (0.025, 0.975)), abs=1e-12)


def rates_by_hand(said, labels, members, k):
    """True- and false-positive rate of class k among some samples, NaN where there are none."""
    is_k, says_k = labels[members] == k, said[members] == k
    rate = lambda among: says_k[among].double().mean().item() if among.any() else math.nan  # noqa: E731
    return rate(is_k), rate(~is_k)


def test_equalized_odds_by_brute_force(answers):
    said, labels = answers
    groups = Groups.of(VALUES)
    gaps = rate_gaps(said, labels, 3, groups)
    rates = np.array([[rates_by_hand(said, labels, member, k) for k in range(3)] for member in groups.members])
    for which, estimate in enumerate(gaps):
        spreads = []
        for k in range(3):
            known = [rate for rate in rates[:, k, which] if not math.isnan(rate)]
            if len(known) >= 2:
                spreads.append(max(known) - min(known))
        assert estimate.value == pytest.approx(np.mean(spreads), rel=1e-12)
        assert estimate.low <= estimate.value <= estimate.high
    for group, (true_positive, false_positive) in enumerate(group_rates(said, labels, 3, groups)):
        assert true_positive == pytest.approx(np.nanmean(rates[group, :, 0]), rel=1e-12)
        assert false_positive == pytest.approx(np.nanmean(rates[group, :, 1]), rel=1e-12)


def test_equal_groups_have_no_gap():
    labels = torch.tensor([0, 1, 0, 1])
    said = torch.tensor([0, 0, 0, 0])
    groups = Groups.of(["x", "x", "y", "y"])
    assert [estimate.value for estimate in rate_gaps(said, labels, 2, groups)] == [0.0, 0.0]
    assert group_means(said == labels, groups).gap.value == 0.0


def test_a_table_of_groups_is_read_by_path(tmp_path):
    (tmp_path / "groups.csv").write_text("path,tone,age\nimages/1.png,dark,\nimages/2.png,light,old\n")
    images = [str(tmp_path / "images" / f"{i}.png") for i in (2, 1, 3)]
    found = read_groups(tmp_path / "groups.csv", images)
    assert found == {"tone": ["light", "dark", None], "age": ["old", None, None]}


def test_the_mark_that_spreadsheets_begin_with_is_no_part_of_the_name(tmp_path):
    (tmp_path / "groups.csv").write_text("\ufeffpath,tone\n1.png,dark\n", encoding="utf-8")
    assert read_groups(tmp_path / "groups.csv", [str(tmp_path / "1.png")]) == {"tone": ["dark"]}


def test_read_groups_tsv_with_quotation_marks_keeps_every_row(tmp_path):
    (tmp_path / "groups.tsv").write_text('path\ttone\n1.png\t"dark\n2.png\tlight\n3.png\tpale"\n')
    images = [str(tmp_path / f"{i}.png") for i in (1, 2, 3)]
    assert read_groups(tmp_path / "groups.tsv", images) == {"tone": ['"dark', "light", 'pale"']}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "there is no such file"),
        ("image,tone\n1.png,dark\n", "'path' must be one of them"),
        ("path\n1.png\n", "one or more attributes"),
        ("path,tone\nother.png,dark\n", "knows none of the 51 images"),
        ("", "'path' must be one of them"),
        ("path,tone\n1.png,a\n\0.png,b\n", "line 3: .* is no path|line 3: line contains NUL"),
        (
            "path,tone\n1.png,a\n2.png,b\n./1.png,b\n",
            r"line 4: '\./1\.png' has other values in line 2; give each image one row$",
        ),
        ('path,tone\n1.png,"a\n2.png,b\n3.png,b"\n', "lines 2 to 4: are one field"),
        (
            "path,tone\n" + "".join(f"{i}.png,tone {i}\n" for i in range(60)),
            "column 'tone' has 51 groups, more than 50",
        ),
    ],
)
def test_a_bad_table_is_one_line(tmp_path, text, message):
    path = tmp_path / "groups.csv"
    if text is not None:
        path.write_text(text)
    with pytest.raises(DataError, match=message) as error:
        read_groups(path, [str(tmp_path / f"{i}.png") for i in range(1, 52)])
    assert "\n" not in str(error.value)
