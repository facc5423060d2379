"""Distillation as a weighted sum of published losses: what they are given, what they are called, how they add up."""

from project.losses.distillation.losses import DistillationLosses, Sum
from project.losses.distillation.outputs import FEATURES, Outputs, Shapes, Targets
from project.losses.distillation.registry import LOSSES, Published
from project.losses.distillation.stages import Stages
from project.losses.distillation.terms import LossTerm

__all__ = [
    "FEATURES",
    "LOSSES",
    "DistillationLosses",
    "LossTerm",
    "Outputs",
    "Published",
    "Shapes",
    "Stages",
    "Sum",
    "Targets",
]
