"""What networks are made of, against definitions written out."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from project.errors import ConfigError
from project.models.backbone import Backbone
from project.models.blocks import (
    ChannelShuffle,
    conv_norm,
    conv_norm_relu,
    global_pool,
    init_he,
    init_head,
    require_pixels,
)


@pytest.mark.parametrize(("kernel", "stride", "side"), [(1, 1, 9), (1, 2, 5), (3, 1, 9), (3, 2, 5), (5, 2, 5)])
def test_convolutions_are_padded_so_that_only_the_stride_shrinks_a_map(kernel, stride, side):
    layers = conv_norm_relu(4, 6, kernel, stride=stride, groups=2)
    assert [type(layer) for layer in layers] == [nn.Conv2d, nn.BatchNorm2d, nn.ReLU]
    output = nn.Sequential(*layers)(torch.randn(2, 4, 9, 9))
    assert output.shape == (2, 6, side, side)
    assert (output >= 0).all()
    assert layers[0].groups == 2
    assert layers[0].bias is None
    assert conv_norm(4, 6, bias=True)[0].bias is not None


def test_the_global_pool_is_the_mean_over_positions():
    x = torch.randn(2, 3, 4, 5, dtype=torch.float64)
    torch.testing.assert_close(global_pool()(x), x.sum((2, 3)) / 20)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_a_shuffle_takes_a_channel_of_each_group_in_turn(layout):
    x = torch.arange(2 * 6 * 4).float().view(2, 6, 2, 2).contiguous(memory_format=layout)
    assert torch.equal(ChannelShuffle(2)(x), x[:, [0, 3, 1, 4, 2, 5]])
    assert torch.equal(ChannelShuffle(3)(x), x[:, [0, 2, 4, 1, 3, 5]])


def test_initial_weights_have_the_deviations_that_are_promised():
    torch.manual_seed(0)
    convs = nn.Sequential(nn.Conv2d(16, 128, 3), nn.Conv2d(128, 128, 5, groups=4))
    network = init_head(init_he(Backbone({"convs": convs}, global_pool(), 128, 200)), std=0.03)
    # 128 channels of 3 × 3 and of 5 × 5 numbers; some 10,000 draws give the deviation to 1 %
    for conv, fan_out in zip(convs, (128 * 9, 128 * 25), strict=True):
        assert conv.weight.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.03)
        assert conv.weight.mean().abs() < 0.03 * conv.weight.std()
        assert (conv.bias == 0).all()
    assert network.head.weight.std().item() == pytest.approx(0.03, rel=0.03)
    assert (network.head.bias == 0).all()


def test_too_few_pixels_are_a_mistake_of_the_user():
    require_pixels("net", 8, 8)
    with pytest.raises(ConfigError, match=r"^model\.backbone: net needs images of at least 8 pixels; got 7$"):
        require_pixels("net", 7, 8)
