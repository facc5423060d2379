"""What a report is of: a network with its weights, its data, and what is found once for several sections."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from project.analysis.caption_outcomes import CaptionOutcomes, collect_captions
from project.analysis.groups import Groups, read_groups
from project.analysis.outcomes import Outcomes, collect_outcomes, existing_split
from project.data.base import ImageDataModule
from project.data.captions.base import CaptionDataModule
from project.data.samples import Split
from project.tasks import Captioner, Classifier, Task
from project.tasks.caption_search import Decoding


@dataclass
class Subject:
    """A network and what it is looked at with.

    Attributes:
        task: with its weights, in evaluation mode, on the device to use.
        data: that its checkpoint goes with.
        checkpoint: its file.
        wanted: the split that was asked for.
        seed: of resamples, corruptions and attacks.
        images: files to explain, instead of those that the split suggests.
        groups_file: a table of attributes, instead of what the data know; see `read_groups`.
    """

    task: Task
    data: ImageDataModule
    checkpoint: Path
    wanted: Split = "test"
    seed: int = 0
    images: list[Path] = field(default_factory=list)
    groups_file: Path | None = None

    @property
    def split(self) -> Split:
        """The split that is looked at: `val` where there are no labelled test images."""
        return existing_split(self.data, self.wanted)

    @property
    def num_samples(self) -> int:
        """N, of the split."""
        return len(self.data.splits[self.split])

    @property
    def classifier(self) -> Classifier:
        """The task, where it is one."""
        assert isinstance(self.task, Classifier)
        return self.task

    @property
    def captioner(self) -> Captioner:
        """The task, where it is one."""
        assert isinstance(self.task, Captioner)
        return self.task

    @property
    def captions(self) -> bool:
        """Whether it is a captioner."""
        return isinstance(self.task, Captioner)

    @cached_property
    def outcomes(self) -> Outcomes:
        """Of a classifier."""
        return collect_outcomes(self.classifier, self.data, self.split)

    @cached_property
    def said(self) -> CaptionOutcomes:
        """Of a captioner, by the search that it is configured with."""
        return self.said_by(self.captioner.search.decoding)

    def said_by(self, decoding: Decoding) -> CaptionOutcomes:
        """Of a captioner, by another search."""
        assert isinstance(self.data, CaptionDataModule)
        return collect_captions(self.captioner, self.data, self.split, decoding)

    @cached_property
    def names(self) -> list[str]:
        """Of all samples of the split."""
        samples = self.data.splits[self.split]
        return [samples.name_of(place) for place in range(self.num_samples)]

    @cached_property
    def groups(self) -> dict[str, Groups]:
        """Of each attribute with two groups or more."""
        if self.groups_file is not None:
            values = read_groups(self.groups_file, self.names)
        else:
            values = self.data.groups(self.split)
        found = {attribute: Groups.of(each) for attribute, each in values.items()}
        return {attribute: groups for attribute, groups in found.items() if len(groups.names) > 1}

    def pictures(self, indices: Tensor) -> Tensor:
        """The images at places (n,) int64 of the split as the network sees them, (n, 3, S, S) uint8 on its device."""
        once, order = indices.unique(
            return_inverse=True
        )  # a small split has the same sample among the best and the worst
        wanted = torch.full((self.num_samples,), -1)
        wanted[once] = torch.arange(len(once))
        size = self.task.image_size
        images = torch.empty(len(once), 3, size, size, dtype=torch.uint8, device=self.task.device)
        for batch in self.data.batches_in_order(self.split, self.task.device):
            places = wanted[batch.indices.cpu()]
            here = (places >= 0).nonzero()[:, 0]
            if len(here):
                images[places[here].to(images.device)] = batch.images[here.to(images.device)]
        return images[order.to(images.device)]

    def some(self, most: int) -> Tensor:
        """Places of at most so many samples, drawn by the seed, ascending, (n,) int64."""
        if self.num_samples <= most:
            return torch.arange(self.num_samples)
        chosen = np.random.default_rng(self.seed).choice(self.num_samples, most, replace=False)
        return torch.from_numpy(np.sort(chosen))
