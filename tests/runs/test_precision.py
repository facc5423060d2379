"""bfloat16 where the machine computes in it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from project.runs.precision import fastest_precision


@pytest.mark.parametrize(
    ("flags", "precision"),
    [
        ("flags : fpu sse avx512f avx512_bf16 x", "bf16-mixed"),
        ("flags : fpu amx_bf16 amx_tile", "bf16-mixed"),
        ("flags : fpu sse avx2 avx512f", "32-true"),
        ("flags : avx512_bf16_not", "32-true"),
        ("", "32-true"),
        (None, "32-true"),
    ],
)
def test_a_processor_without_a_gpu(monkeypatch, flags, precision):
    def read_text(path: Path) -> str:
        assert str(path) == "/proc/cpuinfo"
        if flags is None:
            raise FileNotFoundError(path)
        return flags

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(Path, "read_text", read_text)
    assert fastest_precision() == precision


@pytest.mark.parametrize(("supported", "precision"), [(True, "bf16-mixed"), (False, "32-true")])
def test_a_gpu_decides_whatever_the_processor(monkeypatch, supported, precision):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    # emulated bfloat16 is slower than 32-bit
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation or supported
    )
    assert fastest_precision() == precision


def test_it_is_the_default_of_the_command_line(capsys):
    from project.cli import main

    with pytest.raises(SystemExit):
        main(["fit", "--print_config"])
    assert f"precision: {fastest_precision()}" in capsys.readouterr().out
