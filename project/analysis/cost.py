"""What a network costs: parameters, operations, and time by batch size.

Shapes: B images of S × S pixels.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

_WARM_UP, _REPEATS = 3, 5
_LEAST_SECONDS, _LONG = 0.2, 0.5


class Speed(NamedTuple):
    """How fast batches of one size are answered.

    batch_size: B. latency: seconds from a batch of images to its answers, the median of several.
    throughput: images a second at that latency.
    """

    batch_size: int
    latency: float
    throughput: float


def count_parameters(network: nn.Module) -> int:
    """The numbers that training has set, each counted once wherever it is used."""
    return sum(parameter.numel() for parameter in network.parameters())


@torch.inference_mode()
def count_flops(function: Callable[[Tensor], object], image_size: int, device: torch.device) -> int:
    """Floating-point operations for one image, a multiplication and an addition counted as two.

    Those of convolutions, matrix products and attention, which torch's counter knows; others, such as norms and
    recurrent cells that are one fused operation, are not in it.

    Args:
        function: takes images (1, 3, S, S) uint8.
        image_size: S.
        device: of the network.
    """
    counter = FlopCounterMode(display=False)
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # it hides attention and its projections from the counter
    try:
        with counter:
            function(_noise(1, image_size, device))
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
    return counter.get_total_flops()


@torch.inference_mode()
def measure_speed(
    function: Callable[[Tensor], object], image_size: int, device: torch.device, batch_sizes: Iterable[int]
) -> list[Speed]:
    """Times a network on noise that lies on its device already, after some batches to warm up.

    Args:
        function: takes images (B, 3, S, S) uint8 in 0..255.
        image_size: S.
        device: of the network.
        batch_sizes: each B to try, ascending; none after one that takes half a second.
    """
    speeds: list[Speed] = []
    for size in batch_sizes:
        if speeds and speeds[-1].latency > _LONG:
            break
        speeds.append(_speed(function, _noise(size, image_size, device)))
    return speeds


def _speed(function: Callable[[Tensor], object], images: Tensor) -> Speed:
    for _ in range(_WARM_UP):
        function(images)
    seconds: list[float] = []
    while len(seconds) < _REPEATS or sum(seconds) < _LEAST_SECONDS:
        _wait(images.device)
        start = time.perf_counter()
        function(images)
        _wait(images.device)
        seconds.append(time.perf_counter() - start)
    latency = statistics.median(seconds)
    return Speed(len(images), latency, len(images) / latency)


def _wait(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def _noise(batch_size: int, image_size: int, device: torch.device) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    shape = (batch_size, 3, image_size, image_size)
    images = torch.randint(256, shape, dtype=torch.uint8, generator=generator)
    return images.to(device, memory_format=torch.channels_last)  # as batches are
