"""timm's networks behind the one interface, where timm is installed: `timm/NAME`, with or without a tag.

Shapes: B images, C channels, h × w the size of a feature map, N = h · w positions.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models import ResNet18_Weights

from project.errors import ConfigError, did_you_mean
from project.models.backbone import Backbone

_LOADING = {
    "pretrained",
    "checkpoint_path",
    "cache_dir",
}  # a checkpoint's options could have weights downloaded by these


class TimmBackbone(Backbone):
    """A network of timm as one stage, `trunk`; `forward_stages` gives every map that timm names.

    Args:
        model: timm's, with a linear classifier, which becomes the head.
        arguments: what it was made with, but the number of classes.
    """

    def __init__(self, model: Any, arguments: dict[str, Any]) -> None:
        head = model.get_classifier()
        model.reset_classifier(0)
        super().__init__({"trunk": _Trunk(model)}, _Pool(model), head.in_features, head.out_features, head)
        self.arguments = arguments

    def as_map(self, x: Tensor) -> Tensor:
        """What the trunk gives, (B, C, h, w), (B, h, w, C) or tokens (B, prefix + N, C), as (B, C, h, w)."""
        model: Any = self.stages["trunk"].model
        if not isinstance(x, Tensor):
            raise ConfigError(
                "model.backbone: this network has several last maps, and a captioner needs one; take another"
            )
        if x.dim() == 3:
            grid = x[:, getattr(model, "num_prefix_tokens", 0) :].transpose(1, 2)
            side = round(grid.shape[2] ** 0.5)
            return grid.unflatten(2, (side, side))
        return x.permute(0, 3, 1, 2) if getattr(model, "output_fmt", "NCHW") == "NHWC" else x

    def _inner_map(self, output: Tensor) -> Tensor:
        return self.as_map(output)  # modules inside a network of (B, h, w, C) give these, too

    def _walk(self, x: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        model: Any = self.stages["trunk"].model
        if not hasattr(model, "forward_intermediates"):
            return super()._walk(x)
        last, maps = model.forward_intermediates(x, output_fmt="NCHW")
        return {info["module"]: stage for info, stage in zip(model.feature_info, maps, strict=True)}, last


class _Trunk(nn.Module):
    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """What the network computes before it pools."""
        return self.model.forward_features(images)


class _Pool(nn.Module):
    """What the network does between its trunk and its classifier, whose weights the trunk holds."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self._model = [model]  # in a list: its parameters are not to be listed twice

    def forward(self, x: Tensor) -> Tensor:
        """(B, …) to (B, D)."""
        return self._model[0].forward_head(x)


def timm_backbone(name: str, num_classes: int, image_size: int, **options: Any) -> Backbone:
    """A network of timm, freshly initialised.

    Args:
        name: timm's, such as "resnet50" or "resnet50.a1_in1k".
        num_classes: K.
        image_size: pixels, for those networks that are made for one size.
        options: arguments of timm's constructor.

    Raises:
        ConfigError: timm is not installed, has no such network, or it cannot be used, with such options or at this size.
    """
    timm = _timm(name)
    plain = name.partition(".")[0]
    if not timm.is_model(plain):
        raise ConfigError(f"model.backbone: timm has no '{plain}'; {did_you_mean(plain, timm.list_models())}")
    for option in _LOADING & options.keys():
        raise ConfigError(
            f"model.backbone_options.{option}: says where weights are from; give model.weights, or model.init_from"
        )
    cfg = _config(timm, name)
    arguments = {**({"img_size": image_size} if cfg.fixed_input_size else {}), **options}
    try:
        model = timm.create_model(name, num_classes=num_classes, **arguments)
    except (TypeError, ValueError, AssertionError, RuntimeError) as error:
        reason = str(error).partition("\n")[0]
        raise ConfigError(f"model.backbone: timm/{name} cannot be made with {arguments}: {reason}") from error
    if not isinstance(getattr(model, "get_classifier", nn.Identity)(), nn.Linear):
        raise ConfigError(f"model.backbone: timm/{name} does not end with one linear layer")
    backbone = TimmBackbone(model, arguments)
    _try(backbone, name, image_size)
    return backbone


@torch.no_grad()
def _try(backbone: TimmBackbone, name: str, image_size: int) -> None:
    """Runs one image: timm checks sizes, such as multiples of a patch, when a network is run, and in many ways."""
    was_training = backbone.training
    try:
        weight = backbone.head.weight
        stages, features, _ = backbone.eval().forward_with_stages(weight.new_zeros(1, 3, image_size, image_size))
    except Exception as error:  # assertions and torch's own
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise ConfigError(f"model.backbone: timm/{name} cannot take images of {image_size} pixels: {reason}; try "
                          f"{_config(_timm(name), name).input_size[-1]}") from error  # fmt: skip
    if features.shape != (1, backbone.num_features) or not all(stage.dim() == 4 for stage in stages.values()):
        raise ConfigError(
            f"model.backbone: timm/{name} has other features or maps than a classifier's, and cannot be used"
        )
    backbone.train(was_training)


def timm_info(name: str, tag: str) -> tuple[tuple[float, ...], tuple[float, ...], list[str]]:
    """Mean, standard deviation and class names of weights.

    Raises:
        ConfigError: there are no such weights.
    """
    cfg = _config(_timm(name), _tagged(name, tag))
    categories = ResNet18_Weights.DEFAULT.meta["categories"]  # ImageNet's, in everyone's order
    return tuple(cfg.mean), tuple(cfg.std), list(categories) if cfg.num_classes == len(categories) else []


def timm_state(backbone: TimmBackbone, name: str, tag: str) -> tuple[str, dict[str, Tensor]]:
    """The weights' name, and the weights by our keys, adapted by timm to the backbone's image size and options.

    Raises:
        ConfigError: there are no such weights, or they cannot be downloaded.
    """
    timm = _timm(name)
    full = _tagged(name, tag)
    cfg = _config(timm, full)
    try:
        model = timm.create_model(full, pretrained=True, num_classes=backbone.num_classes, **backbone.arguments)
    except Exception as error:  # of a dozen kinds, the hub's among them
        reason = str(error).partition("\n")[0]
        raise ConfigError(f"model.weights: timm/{full} cannot be loaded: {reason}") from error
    state = TimmBackbone(model, {}).state_dict()
    if cfg.num_classes != backbone.num_classes:  # timm has drawn a new head
        state = {key: value for key, value in state.items() if not key.startswith("head.")}
    return full, state


def _tagged(name: str, tag: str) -> str:
    return name if tag == "DEFAULT" else f"{name.partition('.')[0]}.{tag}"


def _config(timm: ModuleType, name: str) -> Any:
    """What timm knows of a network with or without a tag."""
    plain, _, tag = name.partition(".")
    try:
        return timm.get_pretrained_cfg(name, allow_unregistered=False)
    except RuntimeError:
        tags = [full.partition(".")[2] for full in timm.list_pretrained(f"{plain}.*")]
        raise ConfigError(f"model.weights: timm has no weights '{tag}' of {plain}; {did_you_mean(tag, tags)}") from None


def _timm(name: str) -> ModuleType:
    try:
        import timm
    except ImportError:
        raise ConfigError(f"timm/{name}: needs timm; install it with pip install timm") from None
    return timm
