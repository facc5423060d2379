"""Which arithmetic this machine is fast in."""

from __future__ import annotations

from pathlib import Path

import torch

_CPU_FLAGS = ("avx512_bf16", "amx_bf16")


def fastest_precision() -> str:
    """`bf16-mixed` where the GPU, or without one the processor, computes in bfloat16; otherwise `32-true`."""
    if torch.cuda.is_available():
        return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "32-true"
    try:
        flags = Path("/proc/cpuinfo").read_text().split()
    except OSError:
        return "32-true"
    return "bf16-mixed" if any(flag in flags for flag in _CPU_FLAGS) else "32-true"
