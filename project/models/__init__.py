"""Networks by name. A backbone is one function `(num_classes, image_size, **options) -> Backbone`, listed here."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from project.errors import ConfigError, did_you_mean
from project.models.backbone import Backbone
from project.models.simple_cnn import simple_cnn
from project.models.small_resnet import small_resnet

BACKBONES: dict[str, Callable[..., Backbone]] = {
    "simple_cnn": simple_cnn,
    "small_resnet": small_resnet,
}

__all__ = ["BACKBONES", "Backbone", "build_backbone"]


def build_backbone(name: str, num_classes: int, image_size: int, options: dict[str, Any] | None = None) -> Backbone:
    """The backbone called `name`, freshly initialised from torch's global random state.

    Raises:
        ConfigError: no backbone has that name, or it takes no such option.
    """
    if name not in BACKBONES:
        raise ConfigError(f"model.backbone: there is no '{name}'; {did_you_mean(name, BACKBONES)}")
    build, options = BACKBONES[name], options or {}
    known = inspect.signature(build).parameters.keys() - {"num_classes", "image_size"}
    for option in options.keys() - known:
        raise ConfigError(f"model.backbone_options: {name} takes no '{option}'; {did_you_mean(option, known)}")
    return build(num_classes, image_size, **options)
