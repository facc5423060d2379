"""The command that exports a checkpoint, as a user runs it."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from project.export import load_safetensors
from project.export.caption import open_pt2, square
from project.models import BACKBONES
from project.tasks import Task


@pytest.fixture
def export(script):
    return partial(script, "export")


def test_a_run_to_a_file_that_answers_as_predict_does(run, export, trained, trained_images, tmp_path):
    photo = trained_images / "b" / "00.png"
    status, out, err = export("--ckpt_path", trained, "--format", "pt2", "--output", "exports/x.pt2")
    assert (status, err) == (0, "")
    *parity, network, card = out.splitlines()
    assert [line.partition(":")[0] for line in parity] == [f"probabilities, batch of {n}" for n in (1, 2, 7)]
    assert (network, card) == ("wrote: exports/x.pt2", "wrote: exports/MODEL_CARD.md")
    assert "- train: 48 images, fingerprint" in Path("exports/MODEL_CARD.md").read_text()
    program, about = open_pt2("exports/x.pt2")
    images = np.stack([square(str(photo), about["image_size"], about["center_crop"])] * 2)
    (answer,) = Task.load_from_checkpoint(trained / "checkpoints" / "best.ckpt").predict([Image.open(photo)])
    for row in program(images)[0]:
        assert {name: row[about["class_names"].index(name)] for name, _ in answer["top5"]} == pytest.approx(
            dict(answer["top5"]), abs=1e-5
        )


def test_a_distillers_student(run, export, fit_options, trained, trained_images, tmp_path):
    options = fit_options(trained_images, tmp_path / "runs", "--model", "Distiller", "--model.teacher", trained)
    assert run(*options, "--name", "d") == 0
    folder = tmp_path / "runs" / "d" / "version_0"
    status, _, err = export("--ckpt_path", folder, "--format", "safetensors", "--output", "d.safetensors")
    assert (status, err) == (0, "")
    student = Task.load_from_checkpoint(folder / "checkpoints" / "student.ckpt")
    found = load_safetensors("d.safetensors")
    assert type(found) is type(student)
    for name, value in student.state_dict().items():
        assert torch.equal(found.state_dict()[name], value)


def test_other_answers_are_status_1(export, trained, monkeypatch):
    monkeypatch.setattr("project.export.parity.TOLERANCE", -1.0)
    status, out, _ = export("--ckpt_path", trained, "--format", "pt2", "--output", "x.pt2")
    assert str(status).startswith("error: probabilities: with a batch of 1 a probability differs by ")  # status 1
    assert out == ""
    assert not list(Path().glob("x*"))
    assert not Path("MODEL_CARD.md").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--format", "onxx", "--output", "x.onnx"], "error: --format: there is no 'onxx'; did you mean 'onnx'?"),
        (["--format", "onnx", "--output", "x.pt2"], "error: --output: x.pt2: must end in .onnx"),
        (
            ["--format", "pt2", "--output", "x.pt2", "--ckpt_path", "absent"],
            "error: ckpt_path: absent: there is no such",
        ),
    ],
)
def test_a_mistake_is_one_line_and_status_2(export, trained, options, message):
    status, _, err = export("--ckpt_path", trained, *options)
    assert status == 2
    assert err.startswith(message)
    assert err.count("\n") == 1


def test_pieces_from_outside_are_known_by_the_program_that_imports_them(
    script, run, images, fit_options, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    mine = tmp_path / "mine.py"
    mine.write_text("from project.models import BACKBONES, simple_cnn\nBACKBONES['tiny_of_mine'] = simple_cnn\n")
    monkeypatch.setitem(BACKBONES, "tiny_of_mine", BACKBONES["simple_cnn"])
    network = ("--model.backbone", "tiny_of_mine", "--model.backbone_options", "null")
    assert run(*fit_options(images, tmp_path / "runs", *network)) == 0
    commands = {"export": ("--format", "safetensors", "--output", "x.safetensors"), "report": ("--sections", "cost")}
    for name, more in commands.items():
        for program in (None, mine):
            BACKBONES.pop("tiny_of_mine", None)  # as in a process of its own
            monkeypatch.setenv("PROGRAM", str(program or ""))
            status, _, err = script(name, "--ckpt_path", "runs/r/version_0", *more)
            assert status == (0 if program else 2), err
