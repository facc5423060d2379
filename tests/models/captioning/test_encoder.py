"""The encoder is the backbone without what a classifier adds."""

from __future__ import annotations

import pytest
import torch

from project.errors import ConfigError
from project.models import build_backbone
from project.models.captioning import ImageEncoder

BACKBONES = [
    ("small_resnet", 16, {"width": 4}),
    ("simple_cnn", 8, {}),
    ("resnet8x4", 16, {}),
    ("mobilenetv2", 32, {}),
    ("resnet18", 32, {}),
    ("mobilenet_v3_small", 64, {}),
    ("vit_b_16", 32, {}),
]


@pytest.mark.parametrize(("name", "size", "options"), BACKBONES, ids=lambda value: str(value))
def test_the_grid_is_the_last_map_in_rows_and_pooled_its_mean(name, size, options):
    torch.manual_seed(0)
    encoder = ImageEncoder(name, size, options).eval()
    torch.manual_seed(0)
    backbone = build_backbone(name, 1, size, options).eval()
    images = torch.randn(2, 3, size, size)
    with torch.no_grad():
        maps, (grid, pooled) = backbone.feature_maps(images), encoder(images)
    assert grid.shape == (2, encoder.height * encoder.width, encoder.num_features)
    assert pooled.shape == (2, encoder.num_features)
    assert grid.shape[1] > 1
    for row in range(encoder.height):
        for column in range(encoder.width):
            torch.testing.assert_close(grid[:, row * encoder.width + column], maps[:, :, row, column])
    torch.testing.assert_close(pooled, maps.mean((2, 3)), atol=1e-5, rtol=1e-4)
    assert encoder.note == backbone.note


@pytest.mark.parametrize(("name", "size", "options"), BACKBONES, ids=lambda value: str(value))
def test_there_is_no_parameter_without_a_gradient(name, size, options):
    encoder = ImageEncoder(name, size, options).train()
    assert not any(part in key for key in encoder.state_dict() for part in ("head", "pool"))
    grid, _ = encoder(torch.randn(4, 3, size, size))
    (grid * torch.randn_like(grid)).sum().backward()
    assert [key for key, parameter in encoder.named_parameters() if parameter.grad is None] == []


@pytest.mark.parametrize(
    ("name", "options", "unused"),
    [
        ("resnet18", {}, None),
        ("convnext_atto", {}, "head.norm"),
        ("mobilenetv3_small_050", {}, "conv_head"),
        ("vit_tiny_patch16_224", {}, None),
        ("vit_tiny_patch16_224", {"global_pool": "avg"}, "fc_norm"),
    ],
    ids=str,
)
def test_what_timm_does_after_its_last_map_does_not_learn(name, options, unused):
    pytest.importorskip("timm", reason="timm is optional")
    encoder = ImageEncoder(f"timm/{name}", 64, options).train()
    grid, _ = encoder(torch.randn(4, 3, 64, 64))
    (grid * torch.randn_like(grid)).sum().backward()
    learning = {key: parameter.grad for key, parameter in encoder.named_parameters() if parameter.requires_grad}
    assert [key for key, gradient in learning.items() if gradient is None] == []
    frozen = [key for key, parameter in encoder.named_parameters() if not parameter.requires_grad]
    assert bool(frozen) == (unused is not None)
    assert unused is None or any(unused in key for key in frozen)


def test_a_mistake_in_the_backbone_is_a_config_error():
    with pytest.raises(ConfigError, match=r"^model\.backbone: there is no 'small_resnett'"):
        ImageEncoder("small_resnett", 16)
    with pytest.raises(ConfigError, match=r"^model\.backbone_options: small_resnet takes no 'widht'"):
        ImageEncoder("small_resnet", 16, {"widht": 4})
