"""Stages by name, and pooled features as if they were one."""

from __future__ import annotations

import pytest
import torch

from project.losses.distillation import FEATURES, Outputs, Shapes


def test_pooled_features_are_a_stage_of_one_place():
    outputs = Outputs(torch.zeros(2, 3), torch.randn(2, 5), {"stem": torch.randn(2, 4, 8, 8)})
    shapes = Shapes(3, 5, {"stem": (4, 8, 8)})
    assert outputs.map("stem") is outputs.stages["stem"]
    assert torch.equal(outputs.map(FEATURES).flatten(1), outputs.features)
    for stage in ("stem", FEATURES):
        assert tuple(outputs.map(stage).shape[1:]) == shapes.of(stage)
    for of in (outputs.map, shapes.of):
        with pytest.raises(KeyError):
            of("steam")


def test_a_stage_of_that_name_comes_first():
    stage = torch.randn(2, 4, 8, 8)
    assert Outputs(torch.zeros(2, 3), torch.randn(2, 5), {FEATURES: stage}).map(FEATURES) is stage
    assert Shapes(3, 5, {FEATURES: (4, 8, 8)}).of(FEATURES) == (4, 8, 8)
