"""torchvision's networks taken apart into stages, pool and head, one function for each family.

torchvision's own modules are used as they are, so that its weights fit. With `small`, the part that shrinks an image of
224 pixels at once is replaced for images of up to 64: see `FAMILIES`.

Shapes: B images, C channels, h × w the size of a feature map, N = h · w positions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torchvision import models
from torchvision.ops import Permute

from project.models.blocks import global_pool


class Parts(NamedTuple):
    """What a `Backbone` is made of."""

    stages: Mapping[str, nn.Module]
    pool: nn.Module
    head: nn.Linear


class Family(NamedTuple):
    """What one module of torchvision.models has in common.

    Args:
        take_apart: (model, small) to its parts; may change the model.
        options: arguments of torchvision's constructor that may be given.
        small: what is different in small images, as the end of a sentence; empty where nothing can be.
    """

    take_apart: Callable[[nn.Module, bool], Parts]
    options: tuple[str, ...] = ()
    small: str = ""


# ---- what several families need


def small_conv(conv: nn.Conv2d, size: int = 3, stride: int = 1) -> nn.Conv2d:
    """A new first convolution, with as much variance in its response as the given, freshly drawn one.

    Its kernel is a corner of the given one: a part of independent numbers, rescaled to the fewer that are summed.
    """
    padding = size // 2 if stride == 1 else 0
    new = nn.Conv2d(conv.in_channels, conv.out_channels, size, stride, padding, bias=conv.bias is not None)
    with torch.no_grad():
        new.weight.copy_(conv.weight[..., :size, :size] * (conv.kernel_size[0] / size))
        if conv.bias is not None and new.bias is not None:
            new.bias.copy_(conv.bias)
    return new


def _by_max_pool(layers: Iterable[nn.Module]) -> list[nn.Sequential]:
    """Groups that each begin with a max-pool, but the first."""
    groups: list[list[nn.Module]] = [[]]
    for layer in layers:
        if isinstance(layer, nn.MaxPool2d):
            groups.append([])
        groups[-1].append(layer)
    return [nn.Sequential(*group) for group in groups]


def _by_resolution(stem: nn.Module, layers: Iterable[nn.Module], conv: nn.Module) -> dict[str, nn.Module]:
    """Stages that each begin with a strided convolution, but the first, between a stem and a last convolution."""
    groups: list[list[nn.Module]] = [[]]
    for layer in layers:
        strided = any(isinstance(m, nn.Conv2d) and m.stride != (1, 1) for m in layer.modules())
        if strided and groups[-1]:
            groups.append([])
        groups[-1].append(layer)
    stages = {f"stage{number}": nn.Sequential(*group) for number, group in enumerate(groups, start=1)}
    return {"stem": stem, **stages, "conv": conv}


class _InputOfTensorFlow(nn.Module):
    """From ImageNet's normalisation to -1..1, in which Inception's weights were trained by others."""

    scale: Tensor
    shift: Tensor

    def __init__(self) -> None:
        super().__init__()
        scale = [0.229 / 0.5, 0.224 / 0.5, 0.225 / 0.5]
        shift = [(0.485 - 0.5) / 0.5, (0.456 - 0.5) / 0.5, (0.406 - 0.5) / 0.5]
        self.register_buffer("scale", torch.tensor(scale).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("shift", torch.tensor(shift).view(1, 3, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) to the same shape."""
        return x * self.scale + self.shift


# ---- families


def _alexnet(model: models.AlexNet, small: bool) -> Parts:
    *blocks, last_pool = _by_max_pool(model.features)
    if small:
        blocks[0][0], blocks[1][0] = small_conv(model.features[0]), nn.Identity()
    pool = nn.Sequential(last_pool, model.avgpool, nn.Flatten(), *model.classifier[:-1])
    return Parts({f"block{i}": block for i, block in enumerate(blocks, start=1)}, pool, model.classifier[-1])


def _convnext(model: models.ConvNeXt, small: bool) -> Parts:
    features = model.features
    if small:
        features[0][0] = small_conv(features[0][0])
    stages = {"stem": features[0], "stage1": features[1]}
    for number in (2, 3, 4):
        stages[f"stage{number}"] = nn.Sequential(features[2 * number - 2], features[2 * number - 1])
    return Parts(stages, nn.Sequential(model.avgpool, *model.classifier[:-1]), model.classifier[-1])


def _densenet(model: models.DenseNet, small: bool) -> Parts:
    features = model.features
    if small:
        features.conv0, features.pool0 = small_conv(features.conv0), nn.Identity()
    stages = {"stem": features[:4], "block1": features.denseblock1}
    for number in (2, 3, 4):
        layers = [getattr(features, f"transition{number - 1}"), getattr(features, f"denseblock{number}")]
        stages[f"block{number}"] = nn.Sequential(*layers, *([features.norm5, nn.ReLU()] if number == 4 else []))
    return Parts(stages, global_pool(), model.classifier)


def _efficientnet(model: models.EfficientNet | models.MobileNetV2 | models.MobileNetV3, small: bool) -> Parts:
    """Also MobileNetV2 and V3, whose classifiers may have a layer more."""
    if small:
        model.features[0][0] = small_conv(model.features[0][0])
    stem, *blocks, conv = model.features
    pool = nn.Sequential(*global_pool(), *model.classifier[:-1])
    return Parts(_by_resolution(stem, blocks, conv), pool, model.classifier[-1])


def _googlenet(model: models.GoogLeNet, small: bool) -> Parts:
    if small:
        model.conv1.conv, model.maxpool1 = small_conv(model.conv1.conv), nn.Identity()
    stem = nn.Sequential(_InputOfTensorFlow(), model.conv1, model.maxpool1, model.conv2, model.conv3)
    stages: dict[str, nn.Module] = {"stem": stem}
    for number, letters in ((3, "ab"), (4, "abcde"), (5, "ab")):
        blocks = (getattr(model, f"inception{number}{letter}") for letter in letters)
        stages[f"inception{number}"] = nn.Sequential(getattr(model, f"maxpool{number - 1}"), *blocks)
    return Parts(stages, nn.Sequential(*global_pool(), model.dropout), model.fc)


def _inception(model: models.Inception3, small: bool) -> Parts:
    if small:
        model.Conv2d_1a_3x3.conv, model.maxpool1 = small_conv(model.Conv2d_1a_3x3.conv), nn.Identity()
    convs = (model.Conv2d_1a_3x3, model.Conv2d_2a_3x3, model.Conv2d_2b_3x3)
    stages = {
        "stem": nn.Sequential(
            _InputOfTensorFlow(), *convs, model.maxpool1, model.Conv2d_3b_1x1, model.Conv2d_4a_3x3
        ),
        "mixed5": nn.Sequential(model.maxpool2, model.Mixed_5b, model.Mixed_5c, model.Mixed_5d),
        "mixed6": nn.Sequential(*(getattr(model, f"Mixed_6{letter}") for letter in "abcde")),
        "mixed7": nn.Sequential(*(getattr(model, f"Mixed_7{letter}") for letter in "abc")),
    }  # fmt: skip
    return Parts(stages, nn.Sequential(*global_pool(), model.dropout), model.fc)


def _maxvit(model: models.MaxVit, small: bool) -> Parts:
    blocks = {f"block{number}": block for number, block in enumerate(model.blocks, start=1)}
    return Parts({"stem": model.stem, **blocks}, model.classifier[:-1], model.classifier[-1])


def _mnasnet(model: models.MNASNet, small: bool) -> Parts:
    layers = model.layers
    if small:
        layers[0] = small_conv(layers[0])
    pool = nn.Sequential(*global_pool(), *model.classifier[:-1])
    return Parts(_by_resolution(layers[:8], layers[8:14], layers[14:]), pool, model.classifier[-1])


def _regnet(model: models.RegNet, small: bool) -> Parts:
    if small:
        model.stem[0] = small_conv(model.stem[0])
    return Parts({"stem": model.stem, **dict(model.trunk_output.named_children())}, global_pool(), model.fc)


def _resnet(model: models.ResNet, small: bool) -> Parts:
    if small:
        model.conv1, model.maxpool = small_conv(model.conv1), nn.Identity()
    stages = {"stem": nn.Sequential(model.conv1, model.bn1, model.relu, model.maxpool)}
    stages.update({f"layer{number}": getattr(model, f"layer{number}") for number in (1, 2, 3, 4)})
    return Parts(stages, global_pool(), model.fc)


def _shufflenet(model: models.ShuffleNetV2, small: bool) -> Parts:
    if small:
        model.conv1[0], model.maxpool = small_conv(model.conv1[0]), nn.Identity()
    stages = {"stem": nn.Sequential(model.conv1, model.maxpool)}
    stages.update({f"stage{number}": getattr(model, f"stage{number}") for number in (2, 3, 4)})
    return Parts({**stages, "conv": model.conv5}, global_pool(), model.fc)


def _squeezenet(model: models.SqueezeNet, small: bool) -> Parts:
    """The last convolution is 1 × 1: a linear layer at every position (see `PerPosition`)."""
    blocks = _by_max_pool(model.features)
    if small:
        blocks[0][0], blocks[1][0] = small_conv(model.features[0]), nn.Identity()
    stages = {f"block{i}": block for i, block in enumerate(blocks, start=1)}
    dropout, conv = model.classifier[:2]
    head = nn.Linear(conv.in_channels, conv.out_channels, device="meta")  # its weights are those of the convolution
    head.weight, head.bias = nn.Parameter(conv.weight.detach().flatten(1)), conv.bias
    return Parts(stages, nn.Sequential(dropout, *global_pool()), head)


def _swin(model: models.SwinTransformer, small: bool) -> Parts:
    """Channels are last inside a stage, and first between stages; the last one ends with the norm."""
    features = model.features
    if small:
        features[0][0] = small_conv(features[0][0])
    first, last = Permute([0, 3, 1, 2]), Permute([0, 2, 3, 1])
    stages = {"stem": nn.Sequential(features[0], first), "stage1": nn.Sequential(last, features[1], first)}
    for number in (2, 3, 4):
        layers = [features[2 * number - 2], features[2 * number - 1], *([model.norm] if number == 4 else [])]
        stages[f"stage{number}"] = nn.Sequential(last, *layers, first)
    return Parts(stages, global_pool(), model.head)


def _vgg(model: models.VGG, small: bool) -> Parts:
    *blocks, last_pool = _by_max_pool(model.features)
    stages = {f"block{number}": block for number, block in enumerate(blocks, start=1)}
    if not small:
        pool = nn.Sequential(last_pool, model.avgpool, nn.Flatten(), *model.classifier[:-1])
        return Parts(stages, pool, model.classifier[-1])
    head = nn.Linear(512, model.classifier[-1].out_features)
    nn.init.normal_(head.weight, std=0.01)  # as torchvision draws VGG's linear layers
    nn.init.zeros_(head.bias)
    return Parts(stages, global_pool(), head)


def _vit(model: models.VisionTransformer, small: bool) -> Parts:
    """Tokens travel from stage to stage (see `Tokens`); the last one ends with the norm."""
    blocks = list(model.encoder.layers)
    blocks[-1] = nn.Sequential(blocks[-1], model.encoder.ln)
    stages: dict[str, nn.Module] = {"patches": _Patches(model)}
    stages.update({f"block{number}": block for number, block in enumerate(blocks, start=1)})
    return Parts(stages, _ClassToken(), model.heads.head)


class _Patches(nn.Module):
    """ViT's first layers: squares of the image as tokens, with their positions, behind a class token."""

    def __init__(self, model: models.VisionTransformer) -> None:
        super().__init__()
        self.conv = model.conv_proj
        self.class_token = model.class_token
        self.pos_embedding = model.encoder.pos_embedding
        self.dropout = model.encoder.dropout

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) to (B, 1 + N, C)."""
        tokens = self.conv(images).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.class_token.expand(tokens.shape[0], -1, -1), tokens], 1)
        return self.dropout(tokens + self.pos_embedding)


class _ClassToken(nn.Module):
    def forward(self, tokens: Tensor) -> Tensor:
        """(B, 1 + N, C) to (B, C)."""
        return tokens[:, 0]


_STRIDE = "its first convolution has stride 1"
_STEM = "its stem is 3×3, stride 1"
_STEM_AND_POOL = "its stem is 3×3, stride 1, without max-pool"
FAMILIES = {
    "alexnet": Family(_alexnet, ("dropout",), _STEM_AND_POOL),
    "convnext": Family(_convnext, ("stochastic_depth_prob", "layer_scale"), _STEM),
    "densenet": Family(_densenet, ("drop_rate", "memory_efficient"), _STEM_AND_POOL),
    "efficientnet": Family(_efficientnet, ("dropout", "stochastic_depth_prob"), _STRIDE),
    "googlenet": Family(_googlenet, ("dropout",), _STEM_AND_POOL),
    "inception": Family(_inception, ("dropout",), _STEM_AND_POOL),
    "maxvit": Family(_maxvit, ("stochastic_depth_prob", "mlp_dropout", "attention_dropout")),
    "mnasnet": Family(_mnasnet, ("dropout",), _STRIDE),
    "mobilenetv2": Family(_efficientnet, ("dropout",), _STRIDE),
    "mobilenetv3": Family(_efficientnet, ("dropout",), _STRIDE),
    "regnet": Family(_regnet, (), _STRIDE),
    "resnet": Family(_resnet, ("zero_init_residual", "replace_stride_with_dilation"), _STEM_AND_POOL),
    "shufflenetv2": Family(_shufflenet, (), _STEM_AND_POOL),
    "squeezenet": Family(_squeezenet, ("dropout",), _STEM_AND_POOL),
    "swin_transformer": Family(_swin, ("dropout", "attention_dropout", "stochastic_depth_prob"), _STEM),
    "vgg": Family(_vgg, ("dropout",), "it ends with a global average instead of two layers of 4096"),
    "vision_transformer": Family(_vit, ("dropout", "attention_dropout"), "its patches are an eighth of the image"),
}
