"""Recurrent cells against their equations, and dropout whose mask stays."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from project.models.captioning.cells import Cell, Layer, LockedDropout, state_parts

KINDS = ["rnn", "gru", "lstm"]


def pair(kind: str) -> tuple[Cell, Layer]:
    """Both forms, in float64, with the same random weights."""
    torch.manual_seed(0)
    cell, layer = Cell(kind, 3, 4).double(), Layer(kind, 3, 4).double()
    for parameter in cell.parameters():
        nn.init.normal_(parameter)
    layer.layer.load_state_dict({f"{name}_l0": value for name, value in cell.cell.state_dict().items()})
    return cell, layer


def states(kind: str, *shape: int) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(1)
    return tuple(
        torch.randn(*shape, 4, dtype=torch.float64, generator=generator).tanh() for _ in range(state_parts(kind))
    )


@pytest.mark.parametrize("kind", KINDS)
def test_steps_and_whole_sequences_follow_the_equations(kind, next_state):
    cell, layer = pair(kind)
    inputs = torch.randn(2, 5, 3, dtype=torch.float64)
    state = start = states(kind, 2)
    outputs, last = layer(inputs, start)
    for t in range(5):
        expected = [next_state(cell.cell, x, s) for x, s in zip(inputs[:, t].numpy(), _rows(state), strict=True)]
        state = cell(inputs[:, t], state)
        for part, values in zip(state, zip(*expected, strict=True), strict=True):
            np.testing.assert_allclose(part.detach(), np.stack(values), atol=1e-12)
        torch.testing.assert_close(outputs[:, t], state[0])
    for part, same in zip(last, state, strict=True):
        torch.testing.assert_close(part, same)


def _rows(state: tuple[torch.Tensor, ...]) -> list[tuple[np.ndarray, ...]]:
    return list(zip(*(part.detach().numpy() for part in state), strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_hypotheses_of_several_images_are_rows(kind):
    cell, _ = pair(kind)
    inputs, state = torch.randn(2, 3, 3, dtype=torch.float64), states(kind, 2, 3)
    together = cell(inputs, state)
    for image in range(2):
        for row in range(3):
            alone = cell(inputs[image, row][None], tuple(part[image, row][None] for part in state))
            for part, single in zip(together, alone, strict=True):
                assert part.shape == (2, 3, 4)
                torch.testing.assert_close(part[image, row], single[0])


@pytest.mark.parametrize("make", [Cell, Layer])
@pytest.mark.parametrize("kind", KINDS)
def test_recurrent_weights_begin_orthogonal_and_an_lstm_remembers(kind, make):
    weights = {
        name.rpartition(".")[2].removesuffix("_l0"): value for name, value in make(kind, 3, 4).named_parameters()
    }
    blocks = weights["weight_hh"].split(4)
    assert len(blocks) == {"rnn": 1, "gru": 3, "lstm": 4}[kind]
    for block in blocks:
        torch.testing.assert_close(block @ block.T, torch.eye(4), atol=1e-5, rtol=0)
    bias = (weights["bias_ih"] + weights["bias_hh"]).split(4)
    for place, part in enumerate(bias):
        assert (part == float(kind == "lstm" and place == 1)).all()  # torch's order is input, forget, cell, output


def test_dropout_has_one_mask_for_a_sequence_and_another_for_the_next():
    torch.manual_seed(0)
    dropout = LockedDropout(0.25).train()
    found = dropout(torch.ones(100, 2, 7, 50))
    assert found.unique().tolist() == pytest.approx([0, 4 / 3])
    assert (found == found[:, :, :1]).all()
    masks = found[:, :, 0].flatten(0, 1)
    assert len(masks.unique(dim=0)) == 200
    assert masks.mean().item() == pytest.approx(1, abs=0.02)  # 10,000 draws
    assert (masks == 0).float().mean().item() == pytest.approx(0.25, abs=0.015)


def test_nothing_is_dropped_in_evaluation_or_with_a_share_of_zero():
    values = torch.randn(2, 3, 4)
    assert LockedDropout(0.5).eval()(values) is values
    assert LockedDropout(0.0).train()(values) is values
    assert LockedDropout(0.5).eval().mask(values) is None
