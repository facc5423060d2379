"""What is written is what was asked for: opens without the project, takes any batch, and tells no secrets."""

from __future__ import annotations

import importlib.util
import io
import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from project.errors import ConfigError
from project.export import formats
from project.export.formats import check_libraries, open_program, to_onnx, to_pt2
from project.export.parity import pictures
from project.export.programs import Program

ABOUT = {"class_names": ["ant", "bée"]}


class Mean(nn.Module):
    """Of an image, plus a weight; another weight is not used."""

    def __init__(self) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.tensor([0.5]))
        self.unused = nn.Parameter(torch.arange(100_000.0))

    def forward(self, images: Tensor) -> Tensor:
        return images.float().mean((2, 3)) + self.shift


class Waits(Mean):
    def forward(self, images: Tensor) -> Tensor:
        return images.float() if images.sum() > 0 else super().forward(images)


def program(module: nn.Module) -> Program:
    return Program("", module.eval(), (torch.zeros(2, 3, 4, 4, dtype=torch.uint8),), ("images",), ("means",), "batch")


@pytest.fixture(scope="module")
def written() -> dict[str, bytes]:
    return {"onnx": to_onnx(program(Mean()), ABOUT), "pt2": to_pt2(program(Mean()), ABOUT)}


@pytest.mark.parametrize("format_name", ["onnx", "pt2"])
def test_any_batch_goes_in_and_what_is_not_used_is_left_out(written, format_name):
    content = written[format_name]
    assert len(content) < 100_000
    run = open_program(format_name, content)
    for size in (1, 2, 7):
        images = pictures(size, 4).numpy()
        np.testing.assert_allclose(run(images)[0], images.mean((2, 3), dtype=np.float64) + 0.5, rtol=1e-5)


def test_onnx_by_itself(written):
    content = written["onnx"]
    onnx.checker.check_model(onnx.load_from_string(content), full_check=True)
    session = onnxruntime.InferenceSession(content)
    (given,), (told,) = session.get_inputs(), session.get_outputs()
    assert (given.name, given.type, given.shape) == ("images", "tensor(uint8)", ["batch", 3, 4, 4])
    assert (told.name, told.type, told.shape) == ("means", "tensor(float)", ["batch", 3])
    assert json.loads(session.get_modelmeta().custom_metadata_map["about"]) == ABOUT


def test_pt2_by_itself(written):
    extra = {"about.json": ""}
    loaded = torch.export.load(io.BytesIO(written["pt2"]), extra_files=extra)
    assert json.loads(extra["about.json"]) == ABOUT
    assert loaded.module()(torch.full((5, 3, 4, 4), 3, dtype=torch.uint8)).tolist() == [[3.5] * 3] * 5


@pytest.mark.parametrize("format_name", ["onnx", "pt2"])
def test_no_path_of_this_machine_is_in_a_file(exported, format_name):
    content = (exported("classifier", format_name)[1] / f"x.{format_name}").read_bytes()
    for path in (Path(formats.__file__).parents[2], Path(torch.__file__).parents[1], Path.home()):
        assert str(path).encode() not in content


@pytest.mark.parametrize("write", [to_onnx, to_pt2])
def test_what_cannot_be_exported_is_one_line(write):
    with pytest.raises(ConfigError) as caught:
        write(program(Waits()), ABOUT)
    message = str(caught.value)
    assert message.startswith(f"--format: this network cannot be exported as {write.__name__[3:]} (")
    assert message.endswith("; safetensors can always be written")
    assert len(message) < 400


def test_a_library_that_is_missing_is_named(monkeypatch):
    for name in ("onnx", "pt2", "safetensors"):
        check_libraries(name)
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name.startswith("onnx") else real(name))
    check_libraries("pt2")
    with pytest.raises(ConfigError, match=r"^--format: onnx needs what is not installed; install it with pip install "
                       r"'onnx>=1\.19' 'onnxruntime>=1\.22' 'onnxscript>=0\.5'$"):  # fmt: skip
        check_libraries("onnx")
