"""Losses that torch lacks: one published loss in each module."""

from project.losses.doubly_stochastic import doubly_stochastic

__all__ = ["doubly_stochastic"]
