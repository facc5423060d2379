"""What is optimised and logged: one LightningModule a task."""

from project.tasks.base import Task
from project.tasks.captioner import Captioner
from project.tasks.classifier import Classifier

__all__ = ["Captioner", "Classifier", "Task"]
