"""Decoders that look at a part of the image for each word.

Shapes: as in `decoder`.
"""

from __future__ import annotations

from typing import Unpack

import torch
from torch import Tensor, nn

from project.models.captioning.attention import SoftAttention
from project.models.captioning.cells import Cell, CellKind, State, state_parts
from project.models.captioning.decoder import CaptionDecoder, SharedOptions
from project.models.captioning.encoder import Features

Context = tuple[Tensor, Tensor, Tensor, tuple[Tensor | None, ...]]
"""The grid, its keys, its mean, and the dropout between layers, which is known with the image."""


class _Attentive(CaptionDecoder[tuple[State, ...], Context]):
    """What both have: the grid with its keys as context, and states that begin from the mean of the grid."""

    def __init__(self, num_features: int, cell: CellKind, num_states: int, **options: Unpack[SharedOptions]) -> None:
        super().__init__(**options)
        hidden_size = options["hidden_size"]
        self.num_states, self.parts = num_states, state_parts(cell)
        self.state = nn.Linear(num_features, num_states * self.parts * hidden_size)
        self.attention = SoftAttention(num_features, hidden_size, hidden_size)

    def start(self, features: Features) -> tuple[tuple[State, ...], Context]:
        """See the base class."""
        chunks = self.state(features.pooled).tanh()[:, None].chunk(self.num_states * self.parts, dim=2)
        states = tuple(chunks[i : i + self.parts] for i in range(0, len(chunks), self.parts))
        return states, (features.grid, self.attention.keys(features.grid), features.pooled, ())


class SoftDecoder(_Attentive):
    """Show, Attend and Tell with soft attention (Xu et al. 2015, arXiv:1502.03044).

    The state before a word says where to look, a gate β how much that counts (section 4.2.1), and the word is told from
    the word before, the new state and what was seen (equation 7).

    Args:
        num_features: D.
        cell: kind of the recurrent cells.
        layers: how many; the first one sees.
        **options: those of `CaptionDecoder`.
    """

    def __init__(self, num_features: int, cell: CellKind, layers: int, **options: Unpack[SharedOptions]) -> None:
        super().__init__(num_features, cell, layers, **options)
        embedding_size, hidden_size = options["embedding_size"], options["hidden_size"]
        self.gate = nn.Linear(hidden_size, 1)
        self.seen = nn.Linear(num_features, embedding_size)
        self.cells = nn.ModuleList(
            Cell(cell, hidden_size if layer else embedding_size + num_features, hidden_size) for layer in range(layers)
        )

    def start(self, features: Features) -> tuple[tuple[State, ...], Context]:
        """See the base class."""
        states, (grid, keys, pooled, _) = super().start(features)
        return states, (grid, keys, pooled, tuple(self.dropout.mask(states[0][0]) for _ in self.cells[1:]))

    def advance(
        self, inputs: Tensor, memory: tuple[State, ...], context: Context
    ) -> tuple[Tensor, Tensor, tuple[State, ...]]:
        """See the base class."""
        grid, keys, _, masks = context
        query = memory[-1][0]
        seen, weights = self.attention(query, keys, grid)
        seen = self.gate(query).sigmoid() * seen
        values, states = torch.cat([inputs, seen.to(inputs.dtype)], dim=2), []
        for cell, state, mask in zip(self.cells, memory, (None, *masks), strict=True):
            states.append(cell(values if mask is None else values * mask, state))
            values = states[-1][0]
        return inputs + self.project(values) + self.seen(seen), weights, tuple(states)


class TopDownDecoder(_Attentive):
    """Two layers, of which the first looks and the second speaks (Anderson et al. 2018, arXiv:1707.07998, section 3.2).

    Args:
        num_features: D.
        cell: kind of the recurrent cells; the paper's is `lstm`.
        **options: those of `CaptionDecoder`.
    """

    fixed_layers = 2

    def __init__(self, num_features: int, cell: CellKind, **options: Unpack[SharedOptions]) -> None:
        super().__init__(num_features, cell, self.fixed_layers, **options)
        embedding_size, hidden_size = options["embedding_size"], options["hidden_size"]
        self.looking = Cell(cell, hidden_size + num_features + embedding_size, hidden_size)
        self.speaking = Cell(cell, num_features + hidden_size, hidden_size)

    def advance(
        self, inputs: Tensor, memory: tuple[State, ...], context: Context
    ) -> tuple[Tensor, Tensor, tuple[State, ...]]:
        """See the base class."""
        grid, keys, pooled, _ = context
        looking, speaking = memory
        around = pooled[:, None].expand(-1, inputs.shape[1], -1).to(inputs.dtype)
        looking = self.looking(torch.cat([speaking[0].to(inputs.dtype), around, inputs], dim=2), looking)
        seen, weights = self.attention(looking[0], keys, grid)
        speaking = self.speaking(torch.cat([seen, looking[0].to(seen.dtype)], dim=2), speaking)
        return self.project(speaking[0]), weights, (looking, speaking)
