"""Weights of another network: those that fit are taken, and all others named."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from project.errors import CheckpointError
from project.tasks.warm_start import load_matching


def test_matching_layers_are_taken_and_all_others_listed(tmp_path):
    theirs, ours = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)), nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 5))
    torch.save({"state_dict": theirs.state_dict() | {"extra": torch.ones(1)}}, tmp_path / "w.pt")
    before = {name: value.clone() for name, value in ours.state_dict().items()}
    message = load_matching(ours, tmp_path / "w.pt")
    after = ours.state_dict()
    for name in ("0.weight", "0.bias"):
        assert torch.equal(after[name], theirs.state_dict()[name])
    for name in ("1.weight", "1.bias"):
        assert torch.equal(after[name], before[name])
    assert "took 2 of 4 tensors" in message
    assert "1.weight (5×4 here, 2×4 there), 1.bias (5 here, 2 there)" in message
    torch.save({"other": torch.ones(1)}, tmp_path / "none.pt")
    with pytest.raises(CheckpointError, match=r"none\.pt.*none of its 1"):
        load_matching(ours, tmp_path / "none.pt")


def test_load_matching_of_a_runs_directory_takes_its_best_checkpoint(tmp_path):
    ours, best = nn.Linear(3, 4), nn.Linear(3, 4)
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "config.yaml").touch()
    torch.save({"state_dict": best.state_dict()}, tmp_path / "checkpoints" / "best.ckpt")
    torch.save({"state_dict": nn.Linear(3, 4).state_dict()}, tmp_path / "checkpoints" / "last.ckpt")
    assert "took 2 of 2 tensors" in load_matching(ours, str(tmp_path))
    assert torch.equal(ours.weight, best.weight)
    with pytest.raises(CheckpointError, match=r"^model\.init_from: .*checkpoints: the folder is no run"):
        load_matching(ours, str(tmp_path / "checkpoints"))
