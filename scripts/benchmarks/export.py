"""What an exported classifier costs: to make, to keep, and to ask."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import onnxruntime
import torch
from benchmarks.timing import Row, best_of, seconds
from torch import Tensor

from project.export.formats import WRITERS
from project.export.parity import pictures
from project.export.programs import programs_of
from project.tasks import Classifier

_NETWORKS: tuple[tuple[str, dict[str, Any], int], ...] = (
    ("small_resnet", {}, 32),
    ("resnet18", {}, 32),
    ("resnet18", {"stem": "imagenet"}, 224),
)
_PIXELS = 64 * 32 * 32  # of a large batch
_ROUNDS, _CALLS = 5, 3


def measure_export() -> list[Row]:
    """Images/s of exported classifiers against the network in 32 bits, by batch size, and what exporting takes; one thread."""
    torch.set_num_threads(1)
    rows = []
    for backbone, options, size in _NETWORKS:
        torch.manual_seed(0)
        task = Classifier([str(label) for label in range(10)], size, backbone, options).eval()
        (program,) = programs_of(task)
        files, took = {}, {}
        for name, write in WRITERS.items():
            start = time.perf_counter()
            files[name] = write(program, {})
            took[name] = time.perf_counter() - start
        for batch_size in (1, max(_PIXELS // size**2, 8)):
            images = pictures(max(batch_size, 2), size)[:batch_size]
            calls = {
                "eager": _eager(task, images),
                "onnx": _onnx(files["onnx"], images),
                "pt2": _pt2(files["pt2"], images),
            }
            times = best_of(_ROUNDS, {name: partial(_best, call) for name, call in calls.items()})
            rows += [
                {
                    "network": f"{backbone}, {size} px",
                    "batch": batch_size,
                    "runs in": {"eager": "torch, eager", "onnx": "onnxruntime", "pt2": "torch, .pt2"}[name],
                    "images/s": round(batch_size / seconds_taken),
                    "ratio": round(times["eager"] / seconds_taken, 2),
                    "export s": round(took[name], 1) if name in took else "",
                    "MiB": round(len(files[name]) / 2**20, 1) if name in files else "",
                }
                for name, seconds_taken in times.items()
            ]
    return rows


def _best(call: Callable[[], Any]) -> float:
    return min(seconds(call) for _ in range(_CALLS))


def _eager(task: Classifier, images: Tensor) -> Callable[[], Any]:
    images = images.to(memory_format=torch.channels_last)  # as batches are

    def call() -> None:
        with torch.inference_mode():
            task.probabilities(images)

    return call


def _onnx(content: bytes, images: Tensor) -> Callable[[], Any]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    array = np.ascontiguousarray(images.numpy())
    return lambda: session.run(None, {"images": array})


def _pt2(content: bytes, images: Tensor) -> Callable[[], Any]:
    module = torch.export.load(io.BytesIO(content)).module()

    def call() -> None:
        with torch.no_grad():
            module(images)

    return call
