"""What a checkpoint costs to keep and to run."""

from __future__ import annotations

import torch

from project.analysis.cost import count_flops, count_parameters, measure_speed
from project.analysis.report.document import Numbers, Section, Table, Value
from project.analysis.report.subject import Subject

_BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64, 128)


def cost_section(subject: Subject) -> Section:
    """Parameters, operations, and time by batch size."""
    task = subject.task
    if subject.captions:
        subject.captioner.open_ensemble()
    networks = subject.captioner.search.networks if subject.captions else [subject.classifier.network]
    function = subject.captioner.answers if subject.captions else task
    with task.computing():
        speeds = measure_speed(function, task.image_size, task.device, _BATCH_SIZES)
    rows = [[*speed] for speed in speeds]
    numbers: dict[str, Value] = {
        "parameters": sum(map(count_parameters, networks)),
        "flops": count_flops(function, task.image_size, task.device),
        "file_bytes": subject.checkpoint.stat().st_size,
        "threads": torch.get_num_threads(),
    }
    return Section(
        "cost",
        "Cost",
        "What it takes to keep the network and to ask it.",
        [Numbers("all", numbers), Table("speed", ("batch_size", "latency", "throughput"), rows, "Time by batch size")],
    )
