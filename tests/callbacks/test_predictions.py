"""One object an input file, in input order, whatever the number of processes; nothing half-written."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from project.callbacks.predictions import WritePredictions
from project.runs.directory import RunDirectory


class Module:
    """Answers with what it is given."""

    @staticmethod
    def prediction(probability: torch.Tensor) -> dict:
        return {"label": f"p{probability:.0f}", "probability": float(probability), "top5": [["x", 1.0]]}


def trainer(rank: int, world_size: int) -> SimpleNamespace:
    strategy = SimpleNamespace(barrier=lambda name: None)
    return SimpleNamespace(global_rank=rank, world_size=world_size, is_global_zero=rank == 0, strategy=strategy)


@pytest.fixture
def inputs(tmp_path) -> list[Path]:
    from PIL import Image

    paths = [tmp_path / f"{name}.png" for name in ("z", "a b", "m", "ü", "c", "d", "e")]
    for path in paths:
        Image.new("RGB", (4, 4)).save(path)
    return paths


@pytest.mark.parametrize("count", [1, 2, 6, 7])
@pytest.mark.parametrize("world_size", [1, 2, 3])
@pytest.mark.parametrize("batch_size", [1, 2, 10])
def test_rows_come_in_input_order(tmp_path, inputs, count, world_size, batch_size):
    directory = RunDirectory.create(tmp_path, "r")
    for rank in reversed(range(world_size)):  # the first process merges, after all others are done
        callback = WritePredictions(directory, inputs[:count])
        callback.on_predict_start(trainer(rank, world_size), None)
        for indices in torch.arange(count)[rank::world_size].split(batch_size):
            if len(indices):
                outputs = (indices, indices.float())
                callback.on_predict_batch_end(trainer(rank, world_size), Module, outputs, None, 0)
        callback.on_predict_end(trainer(rank, world_size), None)
    rows = [json.loads(line) for line in (directory.path / "predictions.jsonl").read_text().splitlines()]
    assert rows == [
        {"path": str(path), "label": f"p{i}", "probability": float(i), "top5": [["x", 1.0]]}
        for i, path in enumerate(inputs[:count])
    ]
    assert sorted(path.name for path in directory.path.iterdir()) == ["checkpoints", "index.html", "predictions.jsonl"]


def test_a_broken_off_prediction_leaves_the_earlier_one_and_nothing_else(run, fails, trained, trained_images, tmp_path):
    assert run("predict", "--ckpt_path", trained, "--data.predict", trained_images / "a") == 0
    before = {
        path.name: path.read_bytes() for path in trained.iterdir() if path.name in ("predictions.jsonl", "index.html")
    }
    assert len(before) == 2
    bad = tmp_path / "bad"
    bad.mkdir()
    (bad / "00.png").write_bytes((trained_images / "a" / "00.png").read_bytes())
    (bad / "01.png").write_bytes(b"not an image")
    assert "01.png" in fails("predict", "--ckpt_path", trained, "--data.predict", bad)
    assert {name: (trained / name).read_bytes() for name in before} == before
    assert [path.name for path in trained.iterdir() if path.name.startswith(".")] == []
