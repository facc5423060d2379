"""What two networks say of a batch, and what is known of it and of them.

Shapes: B images, K classes, D pooled features, C channels, h × w the size of a map.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

FEATURES = "features"
"""The pooled features as if they were a stage, (B, D, 1, 1); a stage of this name would hide it."""


class Outputs(NamedTuple):
    """One network's.

    logits: (B, K) float.
    features: (B, D) float, pooled.
    stages: by name, or path of a module, (B, C, h, w) float: those that `DistillationLosses.needs_stages` names, or more.
    """

    logits: Tensor
    features: Tensor
    stages: dict[str, Tensor] = {}  # noqa: RUF012  # never written to

    def map(self, stage: str) -> Tensor:
        """A stage's output, (B, C, h, w)."""
        if stage == FEATURES and stage not in self.stages:
            return self.features[:, :, None, None]
        return self.stages[stage]


class Targets(NamedTuple):
    """What is known of the images.

    labels: (B,) int64.
    indices: (B,) int64, places in the training split.
    """

    labels: Tensor
    indices: Tensor


class Shapes(NamedTuple):
    """What sizes one network's `Outputs` have.

    num_classes: K.
    num_features: D.
    stages: (C, h, w) by name, in order: `Backbone.stage_shapes`.
    modules: (C, h, w) by path, of what can be compared besides: `Backbone.all_shapes`.
    """

    num_classes: int
    num_features: int
    stages: dict[str, tuple[int, int, int]]
    modules: dict[str, tuple[int, int, int]] = {}  # noqa: RUF012  # never written to

    def of(self, stage: str) -> tuple[int, int, int]:
        """A stage's, or a module's, (C, h, w)."""
        if stage == FEATURES and stage not in self.stages:
            return self.num_features, 1, 1
        return self.stages[stage] if stage in self.stages else self.modules[stage]
