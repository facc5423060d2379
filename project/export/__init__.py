"""Trained networks for other programs: ONNX, torch's own `.pt2`, and weights alone, each with a model card."""

from project.export.weights import load_safetensors

__all__ = ["load_safetensors"]
