"""Which arithmetic this machine is fast in, and what it cannot do."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch

from project.errors import ConfigError


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


def check_compiler(device: torch.device, option: str = "model.compile") -> None:
    """Says before training that there is nothing to compile a network with.

    Raises:
        ConfigError: a processor's code needs a C++ compiler, and there is none.
    """
    if device.type == "cpu" and not any(map(shutil.which, ("c++", "g++", "clang++", "cl"))):
        raise ConfigError(f"{option}: needs a C++ compiler such as g++; install one, or set it to false")
