"""Wide residual networks, against counts and logits of RepDistiller's."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from project.errors import ConfigError
from project.models.wide_resnet import wrn_16_2, wrn_28_10, wrn_40_1, wrn_40_2

REFERENCE = [  # parameters at 100 classes, and three frozen logits
    (wrn_16_2, 703_284, [2.40447351, -2.4841419, 2.30822666]),
    (wrn_40_1, 569_780, [1.09171795, 1.13541507, 3.55173501]),
    (wrn_40_2, 2_255_156, [2.19517497, -1.87602644, 2.25056233]),
]


@pytest.mark.parametrize(("build", "count", "logits"), REFERENCE)
def test_it_is_the_network_of_the_tables(build, count, logits, parameters, frozen_logits):
    assert parameters(build, 100) == count
    assert frozen_logits(build(100, 32)) == pytest.approx(logits, rel=1e-6)


@pytest.mark.parametrize(("build", "millions"), [(wrn_40_1, 0.6), (wrn_40_2, 2.2), (wrn_28_10, 36.5)])
def test_sizes_are_those_of_the_paper(build, millions, parameters):
    assert round(parameters(build, 10) / 1e6, 1) == millions  # table 4 of arXiv:1605.07146


def test_the_last_stage_ends_with_norm_and_relu():
    network = wrn_16_2(10, 16).eval()
    stages = network.forward_stages(torch.randn(2, 3, 16, 16))
    assert (stages["stage3"] >= 0).all()
    assert (stages["stage2"] < 0).any()
    assert [tuple(stage.shape[1:]) for stage in stages.values()] == [
        (16, 16, 16), (32, 16, 16), (64, 8, 8), (128, 4, 4)
    ]  # fmt: skip


def test_dropout_is_an_option():
    with torch.device("meta"):
        drops = [m.p for m in wrn_16_2(10, 32, dropout=0.3).modules() if isinstance(m, nn.Dropout)]
    assert drops == [0.3] * 6


def test_the_head_begins_without_bias():
    assert (wrn_16_2(10, 32).head.bias == 0).all()


def test_too_small_images_are_refused():
    with pytest.raises(ConfigError, match="wrn_16_2 needs images of at least 4 pixels; got 3"):
        wrn_16_2(10, 3)
