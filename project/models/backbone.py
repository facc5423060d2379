"""The one interface of every image network: named stages, feature maps, pooled features, logits.

Shapes: B images, C channels, h × w the size of a feature map, D pooled features, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn


class Backbone(nn.Module):
    """A network as a chain of named stages, a pool and a linear classifier.

    A classifier uses `forward`; a captioner attends over `feature_maps`; a distiller compares `forward_stages`.

    Args:
        stages: the convolutional part, in order; each maps (B, C, h, w) to (B, C', h', w').
        pool: maps the last stage's (B, C, h, w) to (B, D).
        num_features: D.
        num_classes: K.
    """

    def __init__(self, stages: Mapping[str, nn.Module], pool: nn.Module, num_features: int, num_classes: int) -> None:
        super().__init__()
        self.stages = nn.ModuleDict(stages)
        self.pool = pool
        self.head = nn.Linear(num_features, num_classes)
        self.num_features = num_features
        self.num_classes = num_classes

    def forward_stages(self, images: Tensor) -> dict[str, Tensor]:
        """Every stage's output by its name, in order. `images` is (B, 3, H, W) float, normalised."""
        outputs = {}
        for name, stage in self.stages.items():
            images = outputs[name] = stage(images)
        return outputs

    def feature_maps(self, images: Tensor) -> Tensor:
        """The last stage's output, (B, C, h, w)."""
        for stage in self.stages.values():
            images = stage(images)
        return images

    def features(self, images: Tensor) -> Tensor:
        """Pooled features, (B, D)."""
        return self.pool(self.feature_maps(images))

    def forward(self, images: Tensor) -> Tensor:
        """Logits, (B, K)."""
        return self.head(self.features(images))

    @torch.no_grad()
    def stage_shapes(self, image_size: int) -> dict[str, tuple[int, int, int]]:
        """(C, h, w) of every stage for square images of `image_size` pixels; found by running one."""
        was_training = self.training
        weight = self.head.weight
        outputs = self.eval().forward_stages(weight.new_zeros(1, 3, image_size, image_size))
        self.train(was_training)
        return {name: tuple(output.shape[1:]) for name, output in outputs.items()}
