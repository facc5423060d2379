"""Every classification network of torchvision behind the one interface, with a stem for small images.

Shapes: B images, C channels, h × w the size of a feature map, N = h · w positions, K classes.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torchvision import models
from torchvision.ops import StochasticDepth

from project.errors import ConfigError
from project.models.backbone import Backbone
from project.models.torchvision_parts import FAMILIES, Family, Parts, small_conv

SMALL_IMAGES = 64  # pixels up to which a network gets its small stem


def _module(name: str) -> str:
    return models.get_model_builder(name).__module__.rpartition(".")[2]


# a later torchvision may have a family that nobody has taken apart yet
TORCHVISION_NAMES = [name for name in models.list_models(module=models) if _module(name) in FAMILIES]


def family_of(name: str) -> tuple[str, Family]:
    """The family of a network in `TORCHVISION_NAMES`, by its name and what is known of it."""
    return _module(name), FAMILIES[_module(name)]


def torchvision_backbone(name: str, num_classes: int, image_size: int, stem: str = "auto", **options: Any) -> Backbone:
    """A network of torchvision, freshly initialised as torchvision does.

    Args:
        name: one of `TORCHVISION_NAMES`.
        num_classes: K.
        image_size: pixels; at most `SMALL_IMAGES` of them choose the small stem.
        stem: `imagenet` is torchvision's own, which divides the resolution by 2 or 4 at once. `small` is a first
            convolution of 3 × 3 and stride 1, no max-pool after it, ViT's patches of an eighth of the image, and a
            global average instead of VGG's layers of 4096, as networks for CIFAR have. `auto` chooses.
        options: arguments of torchvision's constructor, those of `torchvision_options(name)`.

    Raises:
        ConfigError: the images are too small for the network, not of a size that it can divide, or an option has a
            value that the network does not take.
    """
    family, known = family_of(name)
    if stem not in ("auto", "small", "imagenet"):
        raise ConfigError(f"model.backbone_options.stem: 'auto', 'small' or 'imagenet'; got '{stem}'")
    if stem == "small" and not known.small:
        raise ConfigError(f"model.backbone_options.stem: {name} has no small one")
    small = bool(known.small) and (stem == "small" or (stem == "auto" and image_size <= SMALL_IMAGES))
    try:
        model = _build(name, family, num_classes, image_size, small, options)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"model.backbone_options: {name} does not take {options}: {error}") from error
    backbone = assemble(family, known.take_apart(model, small))
    _check_size(backbone, name, image_size)
    if small:
        backbone.note = (
            f"{name}: at {image_size} px {known.small}; --model.backbone_options.stem imagenet gives the original"
        )
    return backbone


def torchvision_options(name: str) -> set[str]:
    """The options of `torchvision_backbone` for one network."""
    return {"stem", *family_of(name)[1].options}


def original_model(name: str, num_classes: int, image_size: int, **options: Any) -> nn.Module:
    """The network of torchvision without auxiliary heads, for images of a size."""
    extra: dict[str, Any] = {}
    match family_of(name)[0]:
        case "googlenet" | "inception":
            extra = {"aux_logits": False, "init_weights": True}
        case "vision_transformer":
            extra = {"image_size": image_size}
        case "maxvit":
            extra = {"input_size": (image_size, image_size)}
    return models.get_model(name, weights=None, num_classes=num_classes, **extra, **options)


def assemble(family: str, parts: Parts) -> Backbone:
    """The backbone of a family that is made of these parts."""
    classes = {"vision_transformer": Tokens, "squeezenet": PerPosition}
    head = parts.head
    return classes.get(family, Backbone)(parts.stages, parts.pool, head.in_features, head.out_features, head)


class Tokens(Backbone):
    """ViT (Dosovitskiy et al. 2020, arXiv:2010.11929): (B, 1 + N, C) tokens travel, the class token first.

    A stage's map is of the other tokens; the pool takes the class token of the last.
    """

    def as_map(self, x: Tensor) -> Tensor:
        """(B, 1 + N, C) tokens to (B, C, h, w), where h = w."""
        side = round((x.shape[1] - 1) ** 0.5)
        return x[:, 1:].transpose(1, 2).unflatten(2, (side, side))


class PerPosition(Backbone):
    """SqueezeNet (Iandola et al. 2016, arXiv:1602.07360): logits are the mean of relu(head) over all positions.

    Features are the mean over positions, too, but the head is not applied to them.
    """

    pool: nn.Sequential

    def _classify(self, last: Tensor) -> tuple[Tensor, Tensor]:
        dropout, *average = self.pool
        kept = dropout(last)
        logits = _mean_over_positions(self.head, kept)
        for layer in average:
            kept = layer(kept)
        return kept, logits

    def map_classifier(self, head: nn.Linear) -> nn.Module:
        """See `Backbone`."""
        return _PerPositionClassifier(self.pool[0], head)


class _PerPositionClassifier(nn.Module):
    def __init__(self, dropout: nn.Module, head: nn.Linear) -> None:
        super().__init__()
        self.dropout = dropout
        self.head = head

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) to (B, K)."""
        return _mean_over_positions(self.head, self.dropout(x))


def _mean_over_positions(head: nn.Linear, x: Tensor) -> Tensor:
    """The mean of relu(head) over the positions of (B, C, h, w): (B, K)."""
    return head(x.permute(0, 2, 3, 1)).relu().mean((1, 2))


def _build(
    name: str, family: str, num_classes: int, image_size: int, small: bool, options: dict[str, Any]
) -> nn.Module:
    """The network of torchvision; what its builders fix, but should be an option, is set afterwards."""
    options = dict(options)
    if family == "vision_transformer":
        return _vit(name, num_classes, image_size, small, options)
    if family == "maxvit" and image_size % 224:
        raise ConfigError(f"model.backbone: {name} needs images whose side is a multiple of 224; got {image_size}")
    depth_prob = options.pop("stochastic_depth_prob", None) if family in ("maxvit", "swin_transformer") else None
    model = original_model(name, num_classes, image_size, **options)
    if depth_prob is not None:
        depths = [module for module in model.modules() if isinstance(module, StochasticDepth)]
        largest = max(module.p for module in depths)
        for module in depths:
            module.p *= depth_prob / largest
    return model


def _vit(name: str, num_classes: int, image_size: int, small: bool, options: dict[str, Any]) -> nn.Module:
    original = int(name.rpartition("_")[2])
    patch = min(max(image_size // 8, 1), original) if small else original
    if image_size % patch:
        raise ConfigError(
            f"model.backbone: {name} needs images whose side is a multiple of its patches' {patch}; got {image_size}"
        )
    model: models.VisionTransformer = original_model(name, num_classes, image_size // patch * original, **options)
    if patch != original:
        model.conv_proj = small_conv(model.conv_proj, patch, patch)
    return model


def _check_size(backbone: Backbone, name: str, image_size: int) -> None:
    """Runs the network without computing anything, to see whether a map becomes too small on the way."""
    tensors = {**dict(backbone.named_parameters()), **dict(backbone.named_buffers())}
    shapes = {key: torch.empty_like(value, device="meta") for key, value in tensors.items()}
    images = torch.empty(1, 3, image_size, image_size, device="meta")
    backbone.eval()
    try:
        with torch.no_grad():
            torch.func.functional_call(backbone, shapes, (images,))
    except RuntimeError:
        raise ConfigError(f"model.backbone: {name} needs images of more than {image_size} pixels") from None
    backbone.train()
