"""The one interface of every image network: named stages, feature maps, pooled features, logits.

Shapes: B images, C channels, h × w the size of a feature map, D pooled features, K classes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn


class Backbone(nn.Module):
    """A network as a chain of named stages, a pool and a linear classifier.

    A classifier uses `forward`; a captioner attends over `feature_maps`; a distiller compares `forward_stages`, or takes
    everything of one pass from `forward_with_stages`.

    Args:
        stages: the convolutional part, in order; each maps (B, C, h, w) to (B, C', h', w'). Where something else travels
            between them (tokens), a subclass says in `as_map` how a map is made of it.
        pool: maps what the last stage gives to (B, D).
        num_features: D.
        num_classes: K.
        head: from (B, D) to (B, K); a new one by default.
        note: what was chosen when the network was built that its user may not expect, in one line.
    """

    def __init__(
        self,
        stages: Mapping[str, nn.Module],
        pool: nn.Module,
        num_features: int,
        num_classes: int,
        head: nn.Linear | None = None,
        note: str = "",
    ) -> None:
        super().__init__()
        self.stages = nn.ModuleDict(stages)
        self.pool = pool
        self.head = nn.Linear(num_features, num_classes) if head is None else head
        self.num_features = num_features
        self.num_classes = num_classes
        self.note = note

    def initialize_from(self, batches: Iterable[Tensor]) -> None:
        """Computes the weights that follow from the training images, where a network has any.

        Args:
            batches: of images (B, 3, H, W) float, normalised; nothing is read unless it is asked for.
        """

    def as_map(self, x: Tensor) -> Tensor:
        """What a stage gives, as (B, C, h, w)."""
        return x

    def forward_stages(self, images: Tensor) -> dict[str, Tensor]:
        """Every stage's output by its name, in order. `images` is (B, 3, H, W) float, normalised."""
        return self._walk(images)[0]

    def forward_with_stages(self, images: Tensor) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        """`forward_stages`, `features` and `forward` of one pass."""
        outputs, last = self._walk(images)
        return outputs, *self._classify(last)

    def feature_maps(self, images: Tensor) -> Tensor:
        """The last stage's output, (B, C, h, w)."""
        return self.as_map(self._last(images))

    def features(self, images: Tensor) -> Tensor:
        """Pooled features, (B, D)."""
        return self.pool(self._last(images))

    def forward(self, images: Tensor) -> Tensor:
        """Logits, (B, K)."""
        return self._classify(self._last(images))[1]

    def _walk(self, x: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        outputs = {}
        for name, stage in self.stages.items():
            x = stage(x)
            outputs[name] = self.as_map(x)
        return outputs, x

    def _last(self, x: Tensor) -> Tensor:
        for stage in self.stages.values():
            x = stage(x)
        return x

    def _classify(self, last: Tensor) -> tuple[Tensor, Tensor]:
        """Features and logits."""
        features = self.pool(last)
        return features, self.head(features)

    @torch.no_grad()
    def stage_shapes(self, image_size: int) -> dict[str, tuple[int, int, int]]:
        """(C, h, w) of every stage for square images of `image_size` pixels; found by running one."""
        was_training = self.training
        weight = self.head.weight
        outputs = self.eval().forward_stages(weight.new_zeros(1, 3, image_size, image_size))
        self.train(was_training)
        return {name: (output.shape[1], output.shape[2], output.shape[3]) for name, output in outputs.items()}
