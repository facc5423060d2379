"""What is optimised and logged: one LightningModule a task."""

from project.tasks.base import Task
from project.tasks.classifier import Classifier

__all__ = ["Classifier", "Task"]
