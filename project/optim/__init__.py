"""Optimizers, schedules and parameter groups that torch lacks."""

from project.optim.muon import MuonSGD
from project.optim.parameter_groups import decay_groups, scale_learning_rates
from project.optim.sam import SAM
from project.optim.schedules import OneCycle, Schedule, Steps, WarmupCosine

__all__ = ["SAM", "MuonSGD", "OneCycle", "Schedule", "Steps", "WarmupCosine", "decay_groups", "scale_learning_rates"]
