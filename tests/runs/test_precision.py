"""bfloat16 where the machine is fast in it."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer

from project.errors import ConfigError
from project.runs.precision import (
    check_compiler,
    check_precision,
    computing,
    fastest_precision,
    precision_of,
    usable_precision,
)


@pytest.mark.parametrize(
    ("flags", "precision"),
    [
        ("vendor_id : AuthenticAMD\nflags : fpu sse avx512f avx512_bf16 x", "bf16-mixed"),
        ("vendor_id : GenuineIntel\nflags : fpu sse avx512f avx512_bf16 x", "32-true"),
        ("vendor_id : GenuineIntel\nflags : fpu avx512_bf16 amx_bf16 amx_tile", "bf16-mixed"),
        ("vendor_id : AuthenticAMD\nflags : fpu sse avx2 avx512f", "32-true"),
        ("vendor_id : AuthenticAMD\nflags : avx512_bf16_not", "32-true"),
        ("", "32-true"),
        (None, "32-true"),
    ],
)
def test_a_processor_without_a_gpu(monkeypatch, flags, precision):
    def read_text(path: Path, *_: str) -> str:
        assert str(path) == "/proc/cpuinfo"
        if flags is None:
            raise FileNotFoundError(path)
        return flags

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(Path, "read_text", read_text)
    assert fastest_precision() == precision


@pytest.mark.parametrize(("supported", "precision"), [(True, "bf16-mixed"), (False, "16-mixed")])
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


@pytest.mark.parametrize(
    ("precision", "device", "bfloat16", "instead"),
    [
        ("16-mixed", "cpu", True, "bf16-mixed"),
        ("16-true", "cpu", True, "32-true"),
        ("bf16-mixed", "cuda", False, "16-mixed"),
        ("bf16-true", "cuda", False, "16-mixed"),
        ("64-true", "mps", False, "32-true"),
    ],
)
def test_a_precision_that_a_device_cannot_do_is_one_line(monkeypatch, precision, device, bfloat16, instead):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: bfloat16)
    with pytest.raises(ConfigError, match=rf"^trainer.precision: .*{precision}.*{instead}") as caught:
        check_precision(precision, torch.device(device))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("precision", "device"),
    [("bf16-mixed", "cpu"), ("32-true", "cpu"), ("64-true", "cpu"), ("16-mixed", "cuda"), ("bf16-mixed", "cuda"),
     ("16-mixed", "mps")],
)  # fmt: skip
def test_what_it_can_do_passes(monkeypatch, precision, device):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: True)
    check_precision(precision, torch.device(device))


def test_the_command_line_refuses_it_before_anything_is_written(fails, fit_options, images, tmp_path):
    line = fails(*fit_options(images, tmp_path / "runs", "--trainer.precision", "16-mixed"))
    assert line == "error: trainer.precision: a processor has no 16-mixed; use bf16-mixed or 32-true"
    assert not list((tmp_path / "runs").rglob("*.*"))


def test_compiling_on_a_processor_needs_a_compiler(monkeypatch):
    check_compiler(torch.device("cuda"))
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ConfigError, match=r"^model.compile: needs a C\+\+ compiler"):
        check_compiler(torch.device("cpu"))
    with pytest.raises(ConfigError, match=r"^model.compile_teacher: needs a C\+\+ compiler"):
        check_compiler(torch.device("cpu"), "model.compile_teacher")
    check_compiler(torch.device("cuda"))


@pytest.mark.parametrize(
    ("checkpoint", "precision"),
    [
        ({"precision": "bf16-mixed", "config": {"trainer": {"precision": "32-true"}}}, "bf16-mixed"),
        ({"config": {"trainer": {"precision": 16}}}, "16-mixed"),  # of an earlier version
        ({"config": {"trainer": {"precision": "bf16"}}}, "bf16-mixed"),
        ({"config": {"trainer": {"precision": ["x"]}}}, "32-true"),
        ({"config": {"trainer": None}}, "32-true"),
        ({"config": None}, "32-true"),
        ({}, "32-true"),
    ],
)
def test_precision_of_a_checkpoint_is_that_of_its_run(checkpoint, precision):
    assert precision_of(checkpoint) == precision


def test_usable_precision_is_full_where_the_device_has_no_other():
    assert usable_precision("16-mixed", torch.device("cpu")) == "32-true"
    assert usable_precision("bf16-mixed", torch.device("cpu")) == "bf16-mixed"


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "bf16-true", "64-true", "16-mixed"])
def test_computing_equals_a_trainer_of_that_precision(precision):
    class Network(LightningModule):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(64, 8)

        def predict_step(self, batch):
            return self.layer(batch.to(self.layer.weight.dtype))

    torch.manual_seed(0)
    network, inputs = Network(), torch.randn(16, 64)
    own = copy.deepcopy(network)
    with computing(own, precision, torch.device("cpu")), torch.no_grad():
        found = own.predict_step(inputs)
    usable = usable_precision(precision, torch.device("cpu"))
    trainer = Trainer(accelerator="cpu", precision=usable, logger=False, enable_progress_bar=False)
    (expected,) = trainer.predict(network, torch.utils.data.DataLoader(inputs, 16))
    assert found.dtype == expected.dtype
    assert torch.equal(found, expected)
