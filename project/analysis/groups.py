"""Whether a network serves all groups of images alike.

Shapes: N samples, G groups, K classes, R resamples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from project.analysis.bootstrap import Estimate, bootstrap
from project.data.table import read_table
from project.errors import DataError

_PATH = "path"
_MOST = 50  # groups of an attribute that a table and a figure can show


@dataclass(frozen=True)
class Groups:
    """The groups of one attribute, such as skin tone.

    Attributes:
        names: of the G groups, sorted; those of which a split has a sample.
        members: (G, N) bool; a sample without a value is in none.
    """

    names: list[str]
    members: Tensor

    @classmethod
    def of(cls, values: Sequence[str | None]) -> Groups:
        """Those of N values, `None` where there is none."""
        names = sorted({value for value in values if value is not None})
        return cls(names, torch.tensor([[value == name for value in values] for name in names], dtype=torch.bool))


@dataclass(frozen=True)
class GroupScores:
    """A score of each group, and what lies between the best and the worst.

    Attributes:
        scores: of each group.
        worst: the least.
        gap: the largest minus the least.
    """

    scores: list[Estimate]
    worst: Estimate
    gap: Estimate


def group_means(scores: Tensor, groups: Groups, seed: int = 0) -> GroupScores:
    """The mean score of each group (N,), such as accuracy where the scores are 0 and 1."""
    weighted = torch.cat([groups.members * scores.double(), groups.members.double()]).T  # (N, 2 G)

    def statistic(counts: Tensor) -> Tensor:
        total, size = (counts @ weighted).chunk(2, dim=1)
        means = total / size
        return torch.cat([means, _least(means), _spread(means)], dim=1)

    *each, worst, gap = bootstrap(statistic, len(scores), seed)
    return GroupScores(each, worst, gap)


def rate_gaps(predictions: Tensor, labels: Tensor, num_classes: int, groups: Groups, seed: int = 0) -> list[Estimate]:
    """How far the rates of equalized odds lie apart (Hardt et al. 2016, arXiv:1610.02413, definition 2.1).

    Each class against the rest: in every group the true-positive rate P(predicted k | is k) and the false-positive rate
    P(predicted k | is not k). Of each class the largest minus the least over the groups that have it, or have another;
    then the mean over the classes of which two groups or more have a rate.

    Args:
        predictions: (N,) int64.
        labels: (N,) int64.
        num_classes: K.
        groups: G of them.
        seed: of the resamples.

    Returns:
        The gap of the true-positive rates, and that of the false-positive rates, each in 0..1.
    """
    classes = torch.arange(num_classes)
    said, true = predictions[:, None] == classes, labels[:, None] == classes  # (N, K)
    gaps: list[Callable[[Tensor], Tensor]] = []
    for among in (true, ~true):
        hits = (said & among).double()
        gaps.append(partial(_mean_spread, members=groups.members, hits=hits, among=among.double()))
    return bootstrap(lambda counts: torch.stack([gap(counts) for gap in gaps], dim=1), len(labels), seed)


def group_rates(predictions: Tensor, labels: Tensor, num_classes: int, groups: Groups) -> list[tuple[float, float]]:
    """Of each group the mean over classes of both rates, see `rate_gaps`; NaN where it has none."""
    classes = torch.arange(num_classes)
    said, true = predictions[:, None] == classes, labels[:, None] == classes
    rates = []
    for member in groups.members[..., None]:
        each = [(said & among & member).sum(0) / (among & member).sum(0) for among in (true, ~true)]
        rates.append(tuple(rate.double().nanmean().item() for rate in each))
    return rates


def _mean_spread(counts: Tensor, members: Tensor, hits: Tensor, among: Tensor) -> Tensor:
    """The mean over classes of the spread of hits (N, K) among (N, K) over the groups, (R,)."""
    rates = torch.stack([counts @ (hits * member) / (counts @ (among * member)) for member in members[..., None]])
    spread = rates.nan_to_num(-torch.inf).amax(0) - rates.nan_to_num(torch.inf).amin(0)  # (R, K)
    enough = (~rates.isnan()).sum(0) >= 2
    return torch.where(enough, spread, torch.nan).nanmean(1)


def _least(means: Tensor) -> Tensor:
    least = means.nan_to_num(torch.inf).amin(1, keepdim=True)
    return torch.where(least.isinf(), torch.nan, least)


def _spread(means: Tensor) -> Tensor:
    return -_least(-means) - _least(means)


def read_groups(path: Path, images: Sequence[str]) -> dict[str, list[str | None]]:
    """The attributes of images from a table with the column `path` and one of each attribute.

    Args:
        path: a `.csv` or `.tsv` file; the paths in it are relative to its folder, or absolute.
        images: the files to know of; those that the table does not have, and empty cells, have no value.

    Returns:
        Each attribute's values, in the order of the images.

    Raises:
        DataError: the file cannot be read, has no such columns, or knows none of the images.
    """
    table: dict[str, dict[str, str]] = {}
    lines: dict[str, str] = {}
    attributes: list[str] = []
    for where, row in read_table("--groups", path, (_PATH,)):
        file, attributes = row.pop(_PATH), list(row)
        if not attributes:
            raise DataError(
                f"--groups: {path}: needs a column 'path' and one or more attributes; found '{_PATH}' alone"
            )
        if "\0" in file:
            raise DataError(f"{where}: {file!r} is no path")
        if not file:
            continue
        key = str((path.parent / file).resolve())
        if table.setdefault(key, row) != row:
            raise DataError(
                f"{where}: {file!r} has other values in {lines[key].rpartition(': ')[2]}; give each image one row"
            )
        lines.setdefault(key, where)
    found = [table.get(str(Path(image).resolve()), {}) for image in images]
    if not any(found):
        raise DataError(f"--groups: {path}: knows none of the {len(images)} images, such as {images[0]}; its paths are "
                        "relative to its own folder")  # fmt: skip
    values = {name: [row.get(name) or None for row in found] for name in attributes}
    for name, each in values.items():
        if (count := len(set(each) - {None})) > _MOST:
            raise DataError(f"--groups: {path}: column '{name}' has {count} groups, more than {_MOST}; join some, or leave "
                            "the column out")  # fmt: skip
    return values
