"""Recurrent cells of three kinds behind one interface, and dropout that stays the same from word to word.

Shapes: N sequences, E inputs, H hidden units, T steps.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

CellKind = Literal["rnn", "gru", "lstm"]
State = tuple[Tensor, ...]
"""Of a layer: the hidden state, and of an LSTM the cell's."""

_CELLS = {"rnn": nn.RNNCell, "gru": nn.GRUCell, "lstm": nn.LSTMCell}
_LAYERS = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}


def state_parts(kind: CellKind) -> int:
    """How many tensors a layer's state has."""
    return 2 if kind == "lstm" else 1


class Cell(nn.Module):
    """One layer, one step at a time, for what looks at the state before each step."""

    def __init__(self, kind: CellKind, num_inputs: int, hidden_size: int) -> None:
        super().__init__()
        self.cell = _CELLS[kind](num_inputs, hidden_size)
        _remember(self.cell, kind)

    def forward(self, inputs: Tensor, state: State) -> State:
        """The next state, each part (..., H), from inputs (..., E)."""
        flat = inputs.flatten(0, -2)
        parts = tuple(part.flatten(0, -2) for part in state)
        found = self.cell(flat, parts if len(parts) == 2 else parts[0])
        found = found if isinstance(found, tuple) else (found,)
        return tuple(part.view(*inputs.shape[:-1], -1) for part in found)


class Layer(nn.Module):
    """One layer over whole sequences at once."""

    def __init__(self, kind: CellKind, num_inputs: int, hidden_size: int) -> None:
        super().__init__()
        self.layer = _LAYERS[kind](num_inputs, hidden_size, batch_first=True)
        _remember(self.layer, kind)

    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        """Outputs (N, T, H) and the last state (N, H), from inputs (N, T, E)."""
        parts = tuple(part[None].contiguous() for part in state)
        outputs, found = self.layer(inputs, parts if len(parts) == 2 else parts[0])
        found = found if isinstance(found, tuple) else (found,)
        return outputs, tuple(part[0] for part in found)


def _remember(cell: nn.Module, kind: CellKind) -> None:
    """Begins an LSTM with forget gates that are open (Jozefowicz et al. 2015), and orthogonal recurrent weights."""
    for name, parameter in cell.named_parameters():
        if "weight_hh" in name:
            for block in parameter.data.chunk(parameter.shape[0] // parameter.shape[1]):
                nn.init.orthogonal_(block)
        elif "bias" in name:
            nn.init.zeros_(parameter)
            if kind == "lstm" and "bias_ih" in name:
                parameter.data.chunk(4)[1].fill_(1.0)


class LockedDropout(nn.Module):
    """Dropout with one mask for all steps of a sequence (Gal and Ghahramani 2016, arXiv:1512.05287).

    With a new mask each step, a recurrent net forgets at random.

    Args:
        p: share that is zeroed.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, values: Tensor) -> Tensor:
        """(..., T, F) to the same shape."""
        return values if (mask := self.mask(values[..., :1, :])) is None else values * mask

    def mask(self, like: Tensor) -> Tensor | None:
        """A mask to multiply with, of the shape of `like`; none outside of training."""
        if not self.training or not self.p:
            return None
        return torch.empty_like(like).bernoulli_(1 - self.p).div_(1 - self.p)
