"""Pretrained weights of torchvision and timm, adapted to small stems, other image sizes and other classes."""

from __future__ import annotations

import os
import pickle
import re
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional
from torchvision import models
from torchvision.models import WeightsEnum

from project.errors import ConfigError, did_you_mean
from project.models import BACKBONES
from project.models.backbone import Backbone
from project.models.timm_models import TimmBackbone, timm_info, timm_state
from project.models.torchvision_models import TORCHVISION_NAMES, assemble, family_of, original_model


class Pretrained(NamedTuple):
    """What came with the weights.

    Args:
        message: what was loaded, adapted and left as initialised, in one line.
        mean: of each channel, in 0..1, that the weights were trained with.
        std: likewise.
        class_names: that the weights tell apart.
        head_loaded: whether the head's weights were taken, too.
    """

    message: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    class_names: list[str]
    head_loaded: bool


def weights_info(name: str, weights: str) -> tuple[tuple[float, ...], tuple[float, ...], list[str]]:
    """Mean, std and class names of weights, without loading them; arguments as of `load_pretrained`."""
    if name.startswith("timm/"):
        return timm_info(name.removeprefix("timm/"), weights)
    found = _find(name, weights)
    preset = found.transforms()
    return tuple(preset.mean), tuple(preset.std), list(found.meta["categories"])


def load_pretrained(backbone: Backbone, name: str, weights: str) -> Pretrained:
    """Puts pretrained weights into a backbone, as far as they fit.

    A first convolution of another size gets the original kernel resampled (`resample_kernel`), a ViT on another grid
    its position embeddings interpolated (`resample_positions`). A head for other classes stays as it is.

    Args:
        backbone: of `build_backbone(name, ...)`; changed in place.
        name: of the backbone.
        weights: torchvision's name, such as "ResNet50_Weights.IMAGENET1K_V2", "IMAGENET1K_V2" or "DEFAULT"; for
            `timm/NAME` the tag, such as "a1_in1k", or "DEFAULT".

    Raises:
        ConfigError: there are no such weights, or they cannot be downloaded.
    """
    if name.startswith("timm/"):
        assert isinstance(backbone, TimmBackbone)
        title, state = timm_state(backbone, name.removeprefix("timm/"), weights)
    else:
        title, state = _load_torchvision(name, weights)
    adapted, left = _copy(backbone, state)
    head_loaded = not any(key.startswith("head.") for key in left)
    message = f"{name}: {title} loaded"
    if adapted:
        message += f"; {'; '.join(adapted)}"
    if left:
        parts = sorted({key.removeprefix("stages.").partition(".")[0] for key in left})
        message += f"; as initialised: {', '.join(parts)}"
    return Pretrained(message, *weights_info(name, weights), head_loaded)


def resample_kernel(kernel: Tensor, size: int) -> Tensor:
    """A kernel (C', C, k, k) of another size, by area: what it answers to a constant image stays exactly the same.

    Each new tap is the sum of the old ones under it, where an old one that lies under two is divided.
    """
    for dim in (2, 3):
        old = kernel.shape[dim]
        kernel = kernel.repeat_interleave(size, dim).unflatten(dim, (size, old)).sum(dim + 1) / size
    return kernel


def resample_positions(embedding: Tensor, count: int) -> Tensor:
    """Position embeddings (1, 1 + N, C) for another square grid, (1, count, C): bicubic, the class token's as it is."""
    old, new = _side(embedding.shape[1]), _side(count)
    grid = embedding[:, 1:].transpose(1, 2).unflatten(2, (old, old))
    grid = functional.interpolate(grid, size=(new, new), mode="bicubic", align_corners=False, antialias=new < old)
    return torch.cat([embedding[:, :1], grid.flatten(2).transpose(1, 2)], 1)


def _side(tokens: int) -> int:
    """Of the square grid of all tokens but the class token."""
    return round((tokens - 1) ** 0.5)


@torch.no_grad()
def _copy(backbone: Backbone, state: dict[str, Tensor]) -> tuple[list[str], list[str]]:
    """Copies what fits; returns what was adapted, in words, and the keys that were left."""
    adapted, left = [], []
    for key, ours in backbone.state_dict().items():
        theirs = state.get(key)
        if theirs is None or (theirs.shape != ours.shape and key.startswith("head.")):
            left.append(key)
        elif theirs.shape == ours.shape:
            ours.copy_(theirs)
        elif key.endswith("pos_embedding"):
            ours.copy_(resample_positions(theirs, ours.shape[1]))
            old, new = (_side(tensor.shape[1]) for tensor in (theirs, ours))
            adapted.append(f"position embeddings interpolated from {old}×{old} to {new}×{new}")
        elif theirs.dim() == 4 and theirs.shape[:2] == ours.shape[:2]:
            size, original = ours.shape[-1], theirs.shape[-1]
            ours.copy_(resample_kernel(theirs, size))
            adapted.append(f"first kernel resampled from {original}×{original} to {size}×{size}")
        else:
            left.append(key)
    return adapted, left


# ---- torchvision's


def _find(name: str, weights: str) -> WeightsEnum:
    plain = name.removeprefix("torchvision/")
    if plain not in TORCHVISION_NAMES or name in BACKBONES:
        advice = (
            f"torchvision's are those of 'torchvision/{name}'"
            if name in TORCHVISION_NAMES
            else f"leave out '{weights}'"
        )
        raise ConfigError(f"model.weights: {name} has no pretrained weights; {advice}")
    known = models.get_model_weights(plain)
    prefix, _, entry = weights.rpartition(".")
    if prefix not in ("", known.__name__) or entry not in known.__members__:
        raise ConfigError(
            f"model.weights: there is no '{weights}' for {name}; {did_you_mean(entry, known.__members__)}"
        )
    return known[entry]


def _load_torchvision(name: str, weights: str) -> tuple[str, dict[str, Tensor]]:
    """Torchvision's weights by our keys."""
    found = _find(name, weights)
    plain = name.removeprefix("torchvision/")
    family, known = family_of(plain)
    downloaded = _download(found)
    # without drawing weights that are replaced at once; RegNet computes its widths with tensors
    with torch.device("cpu" if family == "regnet" else "meta"):
        model = original_model(plain, len(found.meta["categories"]), found.meta.get("min_size", (224,))[0])
    model.load_state_dict(downloaded, assign=True)
    return repr(found), assemble(family, known.take_apart(model, False)).state_dict()


def _download(weights: WeightsEnum) -> dict[str, Tensor]:
    """The downloaded or cached state dictionary, without auxiliary heads and with today's names of DenseNet's layers."""
    folder = os.path.join(torch.hub.get_dir(), "checkpoints")
    try:
        state = weights.get_state_dict(progress=True, check_hash=True, weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        reason = str(error).partition("\n")[0]
        raise ConfigError(
            f"model.weights: {weights!r} cannot be loaded ({reason}); download {weights.url} and put it into {folder}"
        ) from error
    for key in list(state):
        if key.startswith(("aux1.", "aux2.", "AuxLogits.")):
            del state[key]
        elif (new := re.sub(r"(denselayer\d+\.(?:norm|conv))\.([12])\.", r"\1\2.", key)) != key:
            state[new] = state.pop(key)
    return state
