"""VGG for CIFAR, against counts and logits of RepDistiller's."""

from __future__ import annotations

import pytest
import torch

from project.errors import ConfigError
from project.models.vgg import vgg8, vgg13, vgg16

REFERENCE = [  # parameters at 100 classes, and three frozen logits
    (vgg8, 3_965_028, [7.59404685, 2.8504593, 26.2885133]),
    (vgg13, 9_462_180, [7.58361019, 2.63369281, 25.6949881]),
    (vgg16, 14_774_436, [9.43618106, 1.22469491, 24.8930275]),
]


@pytest.mark.parametrize(("build", "count", "logits"), REFERENCE)
def test_it_is_the_network_of_the_tables(build, count, logits, parameters, frozen_logits):
    assert parameters(build, 100) == count
    assert frozen_logits(build(100, 32)) == pytest.approx(logits, rel=1e-6)


@pytest.mark.parametrize(
    ("image_size", "sides"), [(8, [8, 4, 2, 1, 1]), (32, [32, 16, 8, 4, 4]), (64, [64, 32, 16, 8, 4])]
)
def test_a_block_computes_at_half_the_resolution_of_the_one_before(image_size, sides):
    with torch.device("meta"):
        shapes = vgg8(10, image_size).stage_shapes(image_size)
    assert list(shapes) == ["block1", "block2", "block3", "block4", "block5"]
    assert [shape[1] for shape in shapes.values()] == sides


def test_weights_begin_as_the_references():
    torch.manual_seed(0)
    network = vgg8(100, 32)
    conv = network.stages["block5"][0]
    assert conv.weight.std().item() == pytest.approx((2 / (512 * 9)) ** 0.5, rel=0.01)
    assert (conv.bias == 0).all()
    assert network.head.weight.std().item() == pytest.approx(0.01, rel=0.02)


def test_too_small_images_are_refused():
    with pytest.raises(ConfigError, match="vgg8 needs images of at least 8 pixels; got 7"):
        vgg8(10, 7)
