"""What is done to training images, a batch at a time with parameters of each sample's own."""

from project.data.augmentation.pipeline import Augmentation, Plan

__all__ = ["Augmentation", "Plan"]
