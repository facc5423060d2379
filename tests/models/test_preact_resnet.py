"""The pre-activation network, against the count and logits of kuangliu's."""

from __future__ import annotations

import pytest
import torch

from project.errors import ConfigError
from project.models.preact_resnet import PreActBlock, preact_blocks, preact_resnet18


def test_it_is_the_network_that_everyone_compares_with(parameters, frozen_logits):
    assert parameters(preact_resnet18, 100) == 11_217_316
    assert parameters(preact_resnet18, 10) == 11_171_146
    assert frozen_logits(preact_resnet18(100, 32)) == pytest.approx([10.9911722, 8.00803091, 1.20698244], rel=1e-6)


def test_stages():
    with torch.device("meta"):
        network = preact_resnet18(10, 32)
    channels, sides, _ = zip(*network.stage_shapes(32).values(), strict=True)
    assert channels == (64, 64, 128, 256, 512)
    assert sides == (32, 32, 16, 8, 4)


def test_the_shortcut_is_the_input_where_shapes_agree_and_behind_the_activation_where_not():
    x = torch.randn(2, 4, 6, 6)
    for block in (PreActBlock(4, 4), PreActBlock(4, 8, stride=2)):
        torch.nn.init.zeros_(block.convs[-1].weight)
        expected = x if block.shortcut is None else block.shortcut(block.activation(x))
        assert torch.equal(block(x), expected)
    assert block.shortcut is not None


def test_dropout_reaches_every_block():
    blocks = preact_blocks(3, 4, 8, 2, dropout=0.25)
    assert [block.convs[3].p for block in blocks] == [0.25] * 3
    assert [block.convs[0].stride[0] for block in blocks] == [2, 1, 1]


def test_too_small_images_are_refused():
    assert preact_resnet18(10, 8).stage_shapes(8)["stage4"] == (512, 1, 1)
    with pytest.raises(ConfigError, match="at least 8 pixels; got 7"):
        preact_resnet18(10, 7)
