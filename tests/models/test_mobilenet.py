"""MobileNetV2 of half the width, against the count and logits of RepDistiller's."""

from __future__ import annotations

import pytest
import torch

from project.errors import ConfigError
from project.models.mobilenet import InvertedResidual, mobilenetv2


def test_it_is_the_network_of_the_tables(parameters, frozen_logits):
    assert parameters(mobilenetv2, 100) == 812_836
    assert frozen_logits(mobilenetv2(100, 32)) == pytest.approx([19.7129565, -26.8303219, -36.4884096], rel=1e-6)


def test_stages_are_the_features_that_distillation_compares():
    assert mobilenetv2(10, 32).stage_shapes(32) == {
        "stem": (16, 16, 16),
        "stage1": (12, 16, 16),
        "stage2": (16, 8, 8),
        "stage3": (48, 4, 4),
        "stage4": (160, 2, 2),
        "conv": (1280, 2, 2),
    }


@pytest.mark.parametrize(("channels", "stride", "residual"), [(4, 1, True), (4, 2, False), (6, 1, False)])
def test_the_input_is_added_where_it_fits(channels, stride, residual):
    block = InvertedResidual(4, channels, stride, 3)
    torch.nn.init.zeros_(block.convs[-1].weight)  # the last norm: nothing but the shortcut is left
    x = torch.randn(2, 4, 6, 6)
    expected = x if residual else torch.zeros(2, channels, 6 // stride, 6 // stride)
    assert torch.equal(block(x), expected)


def test_too_small_images_are_refused():
    assert mobilenetv2(10, 16).stage_shapes(16)["conv"] == (1280, 1, 1)
    with pytest.raises(ConfigError, match="mobilenetv2 needs images of at least 16 pixels; got 15"):
        mobilenetv2(10, 15)
