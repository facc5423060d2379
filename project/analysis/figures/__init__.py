"""Figures of what a run has found, for TensorBoard, notebooks and reports alike; each takes plain arrays."""

from project.analysis.figures.classes import class_figure
from project.analysis.figures.confusion import confusion_figure
from project.analysis.figures.images import image_figure
from project.analysis.figures.precision_recall import precision_recall_figure
from project.analysis.figures.reliability import reliability_figure

__all__ = ["class_figure", "confusion_figure", "image_figure", "precision_recall_figure", "reliability_figure"]
