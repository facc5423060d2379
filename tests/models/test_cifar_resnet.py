"""The residual networks of CIFAR, against counts and logits of RepDistiller's."""

from __future__ import annotations

import pytest
import torch

from project.errors import ConfigError
from project.models.cifar_resnet import resnet8x4, resnet20, resnet32, resnet32x4, resnet44, resnet56, resnet110

REFERENCE = [  # parameters at 100 classes, and three frozen logits
    (resnet20, 278_324, [-0.338774704, -0.418020919, 2.05306668]),
    (resnet32, 472_756, [2.89046309, -0.490072538, 4.47690602]),
    (resnet44, 667_188, [-0.2631051, 3.97396159, 2.21498849]),
    (resnet56, 861_620, [0.589301969, -6.70489563, -5.82948753]),
    (resnet110, 1_736_564, [-3.43254919, -2.72292642, -1.26841001]),
    (resnet8x4, 1_233_540, [19.3405835, 12.6743911, -14.9951442]),
    (resnet32x4, 7_433_860, [7.17361874, 6.05542799, -10.9751569]),
]


@pytest.mark.parametrize(("build", "count", "logits"), REFERENCE)
def test_it_is_the_network_of_the_tables(build, count, logits, parameters, frozen_logits):
    assert parameters(build, 100) == count
    assert frozen_logits(build(100, 32)) == pytest.approx(logits, rel=1e-6)


@pytest.mark.parametrize(
    ("build", "millions"), [(resnet20, 0.27), (resnet32, 0.46), (resnet44, 0.66), (resnet56, 0.85), (resnet110, 1.7)]
)
def test_sizes_are_those_of_the_paper(build, millions, parameters):
    # table 6 of arXiv:1512.03385, whose shortcuts have no parameters
    assert parameters(build, 10) / 1e6 == pytest.approx(millions, rel=0.02)


def test_stages_are_at_full_half_and_quarter_resolution():
    with torch.device("meta"):
        shapes = resnet8x4(10, 32).stage_shapes(32)
    assert shapes == {"stem": (32, 32, 32), "stage1": (64, 32, 32), "stage2": (128, 16, 16), "stage3": (256, 8, 8)}


def test_the_smallest_images_leave_one_position():
    assert resnet20(10, 4).stage_shapes(4)["stage3"] == (64, 1, 1)
    with pytest.raises(ConfigError, match="resnet20 needs images of at least 4 pixels; got 3"):
        resnet20(10, 3)


def test_weights_begin_as_he_initialisation():
    torch.manual_seed(0)
    network = resnet8x4(100, 32)
    first = network.stages["stage3"][0].convs[3].weight
    assert first.std().item() == pytest.approx((2 / (256 * 9)) ** 0.5, rel=0.01)
