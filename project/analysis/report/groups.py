"""Whether a checkpoint serves all groups of images alike."""

from __future__ import annotations

import torch
from torch import Tensor

from project.analysis.groups import Groups, GroupScores, group_means, group_rates, rate_gaps
from project.analysis.report.document import Block, Note, Picture, Section, Table, Value
from project.analysis.report.figures import group_figure
from project.analysis.report.subject import Subject


def groups_section(subject: Subject) -> Section:
    """Scores of each group, the worst one, and the gaps, for each attribute that the data name."""
    if not subject.groups:
        note = Note("The data name no groups. A table of them can be given with --groups FILE.csv: a column `path` and "
                    "one of each attribute.")  # fmt: skip
        return Section("groups", "Groups", "", [note])
    blocks = _caption_blocks(subject) if subject.captions else _class_blocks(subject)
    introduction = (
        "Whether all groups are served alike. Small groups have wide intervals: look at these before the gaps."
    )
    return Section("groups", "Groups", introduction, blocks)


def _class_blocks(subject: Subject) -> list[Block]:
    outcomes, num_classes = subject.outcomes, len(subject.outcomes.class_names)
    rows: list[list[Value]] = []
    gap_rows: list[list[Value]] = []
    pictures = []
    for attribute, groups in subject.groups.items():
        groups = Groups(groups.names, groups.members[:, outcomes.indices])
        found = group_means(outcomes.correct, groups, subject.seed)
        rates = group_rates(outcomes.predictions, outcomes.labels, num_classes, groups)
        sizes = groups.members.sum(1).tolist()
        each = zip(groups.names, sizes, found.scores, rates, strict=True)
        rows += [[attribute, name, size, accuracy, *both] for name, size, accuracy, both in each]
        gaps = rate_gaps(outcomes.predictions, outcomes.labels, num_classes, groups, subject.seed)
        gap_rows.append([attribute, _worst(groups, found), found.worst, found.gap, *gaps])
        pictures.append(_picture(attribute, groups, found, sizes, "accuracy"))
    columns = ("attribute", "group", "support", "accuracy", "true_positive_rate", "false_positive_rate")
    gap_columns = (
        "attribute",
        "worst_group",
        "worst_accuracy",
        "accuracy_gap",
        "true_positive_gap",
        "false_positive_gap",
    )
    return [
        Table("gaps", gap_columns, gap_rows, "Worst groups and gaps"),
        *pictures,
        Table("all", columns, rows, "Each group"),
    ]


def _caption_blocks(subject: Subject) -> list[Block]:
    said = subject.said
    rows: list[list[Value]] = []
    gap_rows: list[list[Value]] = []
    pictures = []
    for attribute, groups in subject.groups.items():
        found = group_means(said.cider_d, groups, subject.seed)
        exact = group_means(said.exact_match, groups, subject.seed)
        sizes = groups.members.sum(1).tolist()
        words = [said.reference_words[member].mean().item() for member in groups.members]
        each = zip(groups.names, sizes, words, found.scores, exact.scores, strict=True)
        rows += [[attribute, *row] for row in each]
        gap_rows.append([attribute, _worst(groups, found), found.worst, found.gap, exact.gap])
        pictures.append(_picture(attribute, groups, found, sizes, "CIDEr-D"))
    columns = ("attribute", "group", "support", "words", "cider_d", "exact_match")
    gap_columns = ("attribute", "worst_group", "worst_cider", "cider_gap", "exact_gap")
    return [
        Table("gaps", gap_columns, gap_rows, "Worst groups and gaps"),
        *pictures,
        Table("all", columns, rows, "Each group"),
    ]


def _worst(groups: Groups, found: GroupScores) -> str:
    values: Tensor = torch.tensor([estimate.value for estimate in found.scores])
    return groups.names[int(values.nan_to_num(torch.inf).argmin())]  # a group without samples has no score


def _picture(attribute: str, groups: Groups, found: GroupScores, sizes: list[int], score: str) -> Picture:
    figure = group_figure(groups.names, found.scores, sizes, f"By {attribute}", score)
    text = f"{score} of each group of {attribute}; the worst is {_worst(groups, found)}, {found.worst.value:.2f}."
    return Picture.of(figure, text, "With 95 % intervals; in brackets the number of samples.")
