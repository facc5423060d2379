"""Metrics that torchmetrics lacks, and the collections that tasks use."""

from project.metrics.classification import classification_metrics

__all__ = ["classification_metrics"]
