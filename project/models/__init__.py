"""Networks by name. A backbone is one function `(num_classes, image_size, **options) -> Backbone`, listed here.

torchvision's are known by their own names, and timm's by `timm/NAME`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

from project.errors import ConfigError, did_you_mean
from project.models.airbench import airbench94, airbench96, airbench_small
from project.models.backbone import Backbone
from project.models.cifar_resnet import resnet8x4, resnet20, resnet32, resnet32x4, resnet44, resnet56, resnet110
from project.models.mobilenet import mobilenetv2
from project.models.preact_resnet import preact_resnet18
from project.models.shufflenet import shufflenetv1, shufflenetv2
from project.models.simple_cnn import simple_cnn
from project.models.small_resnet import small_resnet
from project.models.timm_models import timm_backbone
from project.models.torchvision_models import TORCHVISION_NAMES, torchvision_backbone, torchvision_options
from project.models.vgg import vgg8, vgg13, vgg16
from project.models.wide_resnet import wrn_16_2, wrn_28_10, wrn_40_1, wrn_40_2

BACKBONES: dict[str, Callable[..., Backbone]] = {
    "simple_cnn": simple_cnn,
    "small_resnet": small_resnet,
    "resnet20": resnet20,
    "resnet32": resnet32,
    "resnet44": resnet44,
    "resnet56": resnet56,
    "resnet110": resnet110,
    "resnet8x4": resnet8x4,
    "resnet32x4": resnet32x4,
    "wrn_16_2": wrn_16_2,
    "wrn_40_1": wrn_40_1,
    "wrn_40_2": wrn_40_2,
    "wrn_28_10": wrn_28_10,
    "preact_resnet18": preact_resnet18,
    "airbench94": airbench94,
    "airbench96": airbench96,
    "airbench_small": airbench_small,
    "vgg8": vgg8,
    "vgg13": vgg13,
    "vgg16": vgg16,
    "mobilenetv2": mobilenetv2,
    "shufflenetv1": shufflenetv1,
    "shufflenetv2": shufflenetv2,
}

__all__ = ["BACKBONES", "Backbone", "backbone_names", "build_backbone"]


def backbone_names() -> list[str]:
    """Every name that `build_backbone` knows, but timm's: ours, then torchvision's with a prefix where ours has it."""
    return [*BACKBONES, *(f"torchvision/{name}" if name in BACKBONES else name for name in TORCHVISION_NAMES)]


def build_backbone(name: str, num_classes: int, image_size: int, options: dict[str, Any] | None = None) -> Backbone:
    """The backbone called `name`, freshly initialised from torch's global random state.

    Args:
        name: one of `backbone_names()`, `torchvision/NAME` or, with timm installed, `timm/NAME`.
        num_classes: K.
        image_size: pixels of a side.
        options: further arguments of the network.

    Raises:
        ConfigError: no backbone has that name, it takes no such option, or not images of that size.
    """
    options = options or {}
    origin, _, plain = name.rpartition("/")
    if origin == "timm":
        return timm_backbone(plain, num_classes, image_size, **options)
    if name in BACKBONES:
        build = BACKBONES[name]
        known = inspect.signature(build).parameters.keys() - {"num_classes", "image_size"}
    elif origin in ("", "torchvision") and plain in TORCHVISION_NAMES:
        build, known = partial(torchvision_backbone, plain), torchvision_options(plain)
    else:
        names = [f"torchvision/{known}" for known in TORCHVISION_NAMES] if origin else backbone_names()
        raise ConfigError(f"model.backbone: there is no '{name}'; {did_you_mean(name, names)}")
    for option in options.keys() - known:
        raise ConfigError(f"model.backbone_options: {name} takes no '{option}'; {did_you_mean(option, known)}")
    return build(num_classes, image_size, **options)
