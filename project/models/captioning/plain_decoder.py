"""A decoder that sees the image once, before the first word.

Shapes: as in `decoder`.
"""

from __future__ import annotations

from typing import Unpack

from torch import Tensor, nn

from project.models.captioning.cells import CellKind, Layer, State, state_parts
from project.models.captioning.decoder import CaptionDecoder, SharedOptions
from project.models.captioning.encoder import Features


class PlainDecoder(CaptionDecoder[tuple[State, ...], tuple[Tensor | None, ...]]):
    """The image is the first input and makes the initial state (Vinyals et al. 2015, arXiv:1411.4555).

    Captions are taught whole, each layer in one call.

    Args:
        num_features: D.
        cell: kind of the recurrent cells.
        layers: how many.
        **options: those of `CaptionDecoder`.
    """

    def __init__(self, num_features: int, cell: CellKind, layers: int, **options: Unpack[SharedOptions]) -> None:
        super().__init__(**options)
        embedding_size, hidden_size = options["embedding_size"], options["hidden_size"]
        self.parts = state_parts(cell)
        self.image = nn.Linear(num_features, embedding_size)
        self.state = nn.Linear(num_features, layers * self.parts * hidden_size)
        self.layers = nn.ModuleList(
            Layer(cell, hidden_size if layer else embedding_size, hidden_size) for layer in range(layers)
        )

    def start(self, features: Features) -> tuple[tuple[State, ...], tuple[Tensor | None, ...]]:
        """See the base class; all that is known later is the dropout between layers."""
        chunks = self.state(features.pooled).tanh()[:, None].chunk(len(self.layers) * self.parts, dim=2)
        states = tuple(chunks[i : i + self.parts] for i in range(0, len(chunks), self.parts))
        masks = tuple(self.dropout.mask(chunks[0]) for _ in self.layers[1:])
        _, memory = self._run(self.image(features.pooled)[:, None, None], states, masks)
        return memory, masks

    def advance(
        self, inputs: Tensor, memory: tuple[State, ...], context: tuple[Tensor | None, ...]
    ) -> tuple[Tensor, None, tuple[State, ...]]:
        """See the base class."""
        outputs, memory = self._run(inputs[:, :, None], memory, context)
        return outputs[:, :, 0], None, memory

    def unroll(
        self, inputs: Tensor, memory: tuple[State, ...], context: tuple[Tensor | None, ...]
    ) -> tuple[Tensor, None]:
        """See the base class."""
        return self._run(inputs, memory, context)[0], None

    def _run(
        self, inputs: Tensor, memory: tuple[State, ...], masks: tuple[Tensor | None, ...]
    ) -> tuple[Tensor, tuple[State, ...]]:
        """Outputs (B, W, T, E) and the states after inputs (B, W, T, E)."""
        shape, values, states = inputs.shape[:2], inputs, []
        for layer, state, mask in zip(self.layers, memory, (None, *masks), strict=True):
            values = values if mask is None else values * mask[:, :, None]
            values, state = layer(values.flatten(0, 1), tuple(part.flatten(0, 1) for part in state))
            values = values.unflatten(0, shape)
            states.append(tuple(part.unflatten(0, shape) for part in state))
        return self.project(values), tuple(states)
