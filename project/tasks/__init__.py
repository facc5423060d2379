"""What is optimised and logged: one LightningModule a task."""

from project.tasks.base import Task
from project.tasks.caption_distiller import CaptionDistiller
from project.tasks.captioner import Captioner
from project.tasks.classifier import Classifier
from project.tasks.distiller import Distiller

__all__ = ["CaptionDistiller", "Captioner", "Classifier", "Distiller", "Task"]
