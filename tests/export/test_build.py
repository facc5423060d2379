"""All files or none, and every mistake before that in one line."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from project.errors import CheckpointError, ConfigError, RunError
from project.export import build, caption
from project.export.build import export
from project.export.parity import ParityError


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_files_of_each_format(exported):
    assert names(exported("classifier", "pt2")[1]) == ["MODEL_CARD.md", "x.pt2"]
    assert names(exported("captioner", "safetensors")[1]) == ["MODEL_CARD.md", "x.safetensors"]
    folder = exported("captioner", "pt2")[1]
    assert names(folder) == ["MODEL_CARD.md", "caption.py", "x.encoder.pt2", "x.step.pt2"]
    assert (folder / "caption.py").read_text() == Path(caption.__file__).read_text()


def test_an_earlier_export_is_replaced_and_differences_are_told(classifier, saved, tmp_path):
    source, output = str(saved(classifier())), tmp_path / "out" / "x.pt2"
    output.parent.mkdir()
    output.write_text("earlier")
    found = export(source, "pt2", output)
    assert found.files == [output, output.with_name("MODEL_CARD.md")]
    assert [each.batch_size for each in found.differences] == [1, 2, 7]
    assert output.stat().st_size > 10_000
    assert names(output.parent) == ["MODEL_CARD.md", "x.pt2"]


def test_other_answers_leave_nothing_behind(classifier, saved, tmp_path, monkeypatch):
    real = build.open_files

    def spoilt(format_name, content):
        run = real(format_name, content)
        return lambda *arrays: [part + np.float32(1e-3) for part in run(*arrays)]

    monkeypatch.setattr(build, "open_files", spoilt)
    with pytest.raises(ParityError, match=r"^probabilities: with a batch of 1 a probability differs by 1\.0e-03, and"):
        export(str(saved(classifier())), "pt2", tmp_path / "out" / "x.pt2")
    assert names(tmp_path) == ["saved.ckpt"]


@pytest.mark.parametrize("kind", ["classifier", "captioner"])
def test_export_of_onnx_weights_above_the_limit_puts_them_beside_the_file(request, saved, tmp_path, kind):
    task = request.getfixturevalue(kind)()
    found = export(str(saved(task)), "onnx", tmp_path / "out" / "x.onnx", onnx_limit=1000)
    assert [each.batch_size for each in found.differences][:3] == [1, 2, 7]
    stems = ["x"] if kind == "classifier" else ["x.encoder", "x.step"]
    runner = [] if kind == "classifier" else ["caption.py"]
    expected = [name for stem in stems for name in (f"{stem}.onnx", f"{stem}.onnx.data")]
    assert names(tmp_path / "out") == sorted([*expected, *runner, "MODEL_CARD.md"])
    weights = sum(value.numel() * 4 for name, value in task.state_dict().items() if name.startswith("network."))
    sizes = {name: (tmp_path / "out" / name).stat().st_size for name in expected}
    assert sum(size for name, size in sizes.items() if name.endswith(".data")) == pytest.approx(weights, rel=0.3)
    card = (tmp_path / "out" / "MODEL_CARD.md").read_text()
    assert all(f"`{name}`" in card for name in expected)


def test_a_full_disk_leaves_the_earlier_files(captioner, saved, tmp_path, small_files_only):
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "x.safetensors").write_text("earlier")
    source = str(saved(captioner()))
    with small_files_only(1000), pytest.raises(RunError, match=r"^--output: .*: cannot be written \(File too large\)"):
        export(source, "safetensors", folder / "x.safetensors")
    assert names(folder) == ["x.safetensors"]
    assert (folder / "x.safetensors").read_text() == "earlier"


@pytest.mark.parametrize(
    ("format_name", "output", "kind", "message"),
    [
        ("onx", "x.onx", ConfigError, "--format: there is no 'onx'; did you mean 'onnx'?"),
        ("onnx", "x.pt2", ConfigError, "--output: x.pt2: must end in .onnx, as --format says"),
        ("pt2", "x", ConfigError, "--output: x: must end in .pt2, as --format says"),
    ],
)
def test_mistakes_are_found_before_anything_is_read(tmp_path, format_name, output, kind, message):
    with pytest.raises(kind, match=f"^{re.escape(message)}$"):
        export("absent.ckpt", format_name, Path(output))


def test_mistakes_in_what_is_read_and_where_it_goes(classifier, saved, tmp_path):
    with pytest.raises(CheckpointError, match=r"^ckpt_path: absent\.ckpt: there is no such file"):
        export("absent.ckpt", "pt2", tmp_path / "x.pt2")
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(RunError, match=r"^--output: .*file: cannot be written \(File exists\); choose another folder$"):
        export(str(saved(classifier())), "safetensors", tmp_path / "file" / "x.safetensors")


@pytest.mark.slow
@pytest.mark.parametrize("format_name", ["onnx", "pt2"])
@pytest.mark.parametrize(("attention", "cell"), [("none", "lstm"), ("soft", "gru"), ("top_down", "rnn")])
def test_captioners_of_every_kind_answer_alike(captioner, saved, tmp_path, format_name, attention, cell):
    decoder = {"attention": attention, "cell": cell, "layers": 2, "tie_embeddings": True, "bidirectional": True}
    task = captioner({"direction": "rescore"}, **decoder)
    found = export(str(saved(task)), format_name, tmp_path / "out" / f"x.{format_name}")  # compares, or raises
    assert [each.what for each in found.differences] == ["step", "backward"] * 3
    files = [f"x.{name}.{format_name}" for name in ("backward", "encoder", "step")]
    assert names(tmp_path / "out") == ["MODEL_CARD.md", "caption.py", *files]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("format_name", "options"),
    [
        ("onnx", {"tta": "flip_shift"}),
        ("onnx", {"backbone": "shufflenetv1"}),
        ("pt2", {"backbone": "vit_b_16"}),
        ("pt2", {"backbone": "convnext_tiny"}),
    ],
    ids=str,
)
def test_networks_of_many_kinds_answer_alike(classifier, saved, tmp_path, format_name, options):
    found = export(str(saved(classifier(**options))), format_name, tmp_path / f"x.{format_name}")
    assert [each.what for each in found.differences] == ["probabilities"] * 3
