"""Schedules and parameter groups that torch lacks."""

from project.optim.parameter_groups import decay_groups
from project.optim.schedules import OneCycle, Schedule, WarmupCosine

__all__ = ["OneCycle", "Schedule", "WarmupCosine", "decay_groups"]
