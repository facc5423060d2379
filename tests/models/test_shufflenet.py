"""ShuffleNet 1 and 2, against counts and logits of RepDistiller's."""

from __future__ import annotations

import pytest
import torch

from project.errors import ConfigError
from project.models.shufflenet import shufflenetv1, shufflenetv2

REFERENCE = [  # parameters at 100 classes, and three frozen logits
    (shufflenetv1, 949_258, [2.61883553, -45.2649038, 37.7966035]),
    (shufflenetv2, 1_355_528, [16.0698534, -27.9772259, 32.7526454]),
]


@pytest.mark.parametrize(("build", "count", "logits"), REFERENCE)
def test_it_is_the_network_of_the_tables(build, count, logits, parameters, frozen_logits):
    assert parameters(build, 100) == count
    assert frozen_logits(build(100, 32)) == pytest.approx(logits, rel=1e-6)


@pytest.mark.parametrize(
    ("build", "channels", "sides"),
    [
        (shufflenetv1, (24, 240, 480, 960), (32, 16, 8, 4)),
        (shufflenetv2, (24, 116, 232, 464, 1024), (32, 16, 8, 4, 4)),
    ],
)
def test_stages(build, channels, sides):
    with torch.device("meta"):
        shapes = build(10, 32).stage_shapes(32)
    assert tuple(shape[0] for shape in shapes.values()) == channels
    assert tuple(shape[1] for shape in shapes.values()) == sides


@pytest.mark.parametrize("build", [shufflenetv1, shufflenetv2])
def test_the_layout_of_channels_changes_nothing(build):
    torch.manual_seed(0)
    network = build(10, 16).eval()
    images = torch.randn(2, 3, 16, 16)
    expected = network(images)
    network.to(memory_format=torch.channels_last)
    torch.testing.assert_close(network(images.to(memory_format=torch.channels_last)), expected)


@pytest.mark.parametrize("build", [shufflenetv1, shufflenetv2])
def test_too_small_images_are_refused(build):
    assert list(build(10, 8).stage_shapes(8).values())[-1][1] == 1
    with pytest.raises(ConfigError, match=f"{build.__name__} needs images of at least 8 pixels; got 7"):
        build(10, 7)
