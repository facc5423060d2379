"""Precision of training and evaluation: the fastest one of a machine, that of a checkpoint, and the ones a device lacks."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.precision import DoublePrecision, HalfPrecision, MixedPrecision, Precision
from torch import nn

from project.errors import ConfigError

FULL = "32-true"
_KNOWN = {"64": "64-true", "32": FULL, "16": "16-mixed", "bf16": "bf16-mixed"} | {
    name: name for name in ("64-true", FULL, "16-mixed", "bf16-mixed", "16-true", "bf16-true")
}


def fastest_precision() -> str:
    """`bf16-mixed` where the GPU, or without one the processor, is faster in bfloat16.

    Elsewhere `16-mixed` on a GPU, and `32-true` without one. Processors are those with AMX, and AMD's with AVX-512: Intel's
    AVX-512 makes no more products a second of bfloat16 than of 32 bits, and has to convert them first, which makes training
    slower by a quarter (docs/benchmarks.md, `epoch`).
    """
    if torch.cuda.is_available():
        return "bf16-mixed" if _gpu_has_bfloat16() else "16-mixed"
    try:
        words = Path("/proc/cpuinfo").read_text("utf-8", "replace").split()
    except OSError:
        return "32-true"
    fast = "amx_bf16" in words or {"AuthenticAMD", "avx512_bf16"} <= set(words)
    return "bf16-mixed" if fast else "32-true"


def _gpu_has_bfloat16() -> bool:
    return torch.cuda.is_bf16_supported(including_emulation=False)


def check_precision(precision: str, device: torch.device) -> None:
    """Refuses a precision that the device cannot do, which Lightning would replace, emulate or crash on.

    Raises:
        ConfigError: so it is.
    """
    if device.type == "cpu" and precision in ("16-mixed", "16-true"):
        raise ConfigError(f"trainer.precision: a processor has no {precision}; use bf16-mixed or 32-true")
    if device.type == "cuda" and precision in ("bf16-mixed", "bf16-true") and not _gpu_has_bfloat16():
        raise ConfigError(f"trainer.precision: this GPU has no bfloat16 ({precision}); use 16-mixed or 32-true")
    if device.type == "mps" and precision in ("64-true", "16-true", "bf16-true"):
        raise ConfigError(f"trainer.precision: Apple's GPU cannot do {precision}; use 16-mixed or 32-true")


def evaluation_device(accelerator: Any) -> torch.device:
    """The device that an evaluation runs on: a GPU where there is one, unless the Trainer's option names the processor."""
    return torch.device("cuda" if torch.cuda.is_available() and accelerator != "cpu" else "cpu")


def precision_of(checkpoint: dict[str, Any]) -> str:
    """The precision that a checkpoint's run computed in; 32 bits where it is not recorded, as by other programs.

    Args:
        checkpoint: its content.
    """
    config = checkpoint.get("config")
    trainer = config.get("trainer") if isinstance(config, dict) else None
    kept = checkpoint.get("precision", trainer.get("precision") if isinstance(trainer, dict) else None)
    return _KNOWN.get(str(kept), FULL)


def usable_precision(precision: str, device: torch.device) -> str:
    """The same, or 32 bits where the device lacks it."""
    try:
        check_precision(precision, device)
    except ConfigError:
        return FULL
    return precision


@contextmanager
def computing(module: nn.Module, precision: str, device: torch.device) -> Iterator[None]:
    """Inside it a module computes as it does under a Trainer of this precision, started by the command line.

    Args:
        module: in 16 or 64 bits its weights are converted, and stay so.
        precision: as Lightning names it; 32 bits take its place where the device lacks it.
        device: of the module.
    """
    precision = usable_precision(precision, device)
    plugin = Precision()
    if precision in ("16-mixed", "bf16-mixed"):
        plugin = MixedPrecision(precision, device.type)  # type: ignore[arg-type]
    elif precision in ("16-true", "bf16-true"):
        plugin = HalfPrecision(precision)  # type: ignore[arg-type]
    elif precision == "64-true":
        plugin = DoublePrecision()
    plugin.convert_module(module)
    earlier = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        with plugin.forward_context():
            yield
    finally:
        torch.set_float32_matmul_precision(earlier)


def check_compiler(device: torch.device, option: str = "model.compile") -> None:
    """Says before training that there is nothing to compile a network with.

    Raises:
        ConfigError: a processor's code needs a C++ compiler, and there is none.
    """
    if device.type == "cpu" and not any(map(shutil.which, ("c++", "g++", "clang++", "cl"))):
        raise ConfigError(f"{option}: needs a C++ compiler such as g++; install one, or set it to false")
