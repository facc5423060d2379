"""What the tests of captioners share: small decoders in float64, and the recurrent cells written out in numpy.

Shapes: B images, L places of the grid, D features.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from project.models.captioning import CaptionDecoder, Features
from project.models.captioning.attentive_decoder import SoftDecoder, TopDownDecoder
from project.models.captioning.plain_decoder import PlainDecoder

CONFIGURATIONS = [
    (attention, cell, layers)
    for attention in ("none", "soft", "top_down")
    for cell in ("rnn", "gru", "lstm")
    for layers in ((2,) if attention == "top_down" else (1, 2))
]
SIZES = {"vocabulary_size": 11, "start": 1, "num_features": 5, "embedding_size": 6, "hidden_size": 8}


def _build(attention: str, cell: str = "lstm", layers: int = 1, **options: object) -> CaptionDecoder:
    torch.manual_seed(0)
    options = SIZES | {"cell": cell, "dropout": 0.0, "word_dropout": 0.0, "tie_embeddings": False} | options
    if attention == "top_down":
        decoder = TopDownDecoder(**options)
    else:
        decoder = {"none": PlainDecoder, "soft": SoftDecoder}[attention](layers=layers, **options)
    for parameter in decoder.parameters():  # biases, too, since zeros would hide much
        torch.nn.init.normal_(parameter, std=0.5)
    return decoder.double().eval()


def _features(count: int = 3, places: int = 4) -> Features:
    generator = torch.Generator().manual_seed(count)
    grid = torch.randn(count, places, SIZES["num_features"], dtype=torch.float64, generator=generator)
    return Features(grid, grid.mean(1))


@pytest.fixture(scope="session")
def build() -> Callable[..., CaptionDecoder]:
    """A decoder of 11 words, of which 1 is the start, with random weights: (attention, cell, layers, **options)."""
    return _build


@pytest.fixture(params=CONFIGURATIONS, ids=lambda each: "-".join(map(str, each)))
def decoder(request) -> CaptionDecoder:
    """One of each kind."""
    return _build(*request.param)


@pytest.fixture(scope="session")
def features() -> Callable[..., Features]:
    """Random features: (B, L)."""
    return _features


@pytest.fixture(scope="session")
def captions() -> Callable[..., torch.Tensor]:
    """Random words without specials: shape."""

    def drawn(*shape: int) -> torch.Tensor:
        return torch.randint(4, SIZES["vocabulary_size"], shape, generator=torch.Generator().manual_seed(1))

    return drawn


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def _next_state(cell: torch.nn.Module, x: np.ndarray, state: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
    """Elman's network, the GRU (Cho et al. 2014, in the variant that cuDNN has) and the LSTM with a forget gate."""
    weights = {name.removesuffix("_l0"): value.detach().numpy() for name, value in cell.named_parameters()}
    ahead = weights["weight_ih"] @ x + weights["bias_ih"]
    again = weights["weight_hh"] @ state[0] + weights["bias_hh"]
    parts = len(ahead) // len(state[0])
    if parts == 1:
        return (np.tanh(ahead + again),)
    if parts == 3:
        (reset, update, new), (reset_h, update_h, new_h) = np.split(ahead, 3), np.split(again, 3)
        kept = _sigmoid(update + update_h)
        return ((1 - kept) * np.tanh(new + _sigmoid(reset + reset_h) * new_h) + kept * state[0],)
    taken, kept, new, shown = np.split(ahead + again, 4)
    memory = _sigmoid(kept) * state[1] + _sigmoid(taken) * np.tanh(new)
    return _sigmoid(shown) * np.tanh(memory), memory


@pytest.fixture(scope="session")
def next_state() -> Callable[..., tuple[np.ndarray, ...]]:
    """One step of a recurrent cell by its equations: (a module of torch's, input, state), all of one sequence."""
    return _next_state


@pytest.fixture(scope="session")
def linear() -> Callable[[torch.nn.Linear, np.ndarray], np.ndarray]:
    """W x + b of a linear layer."""

    def applied(layer: torch.nn.Linear, x: np.ndarray) -> np.ndarray:
        product = layer.weight.detach().numpy() @ x
        return product if layer.bias is None else product + layer.bias.detach().numpy()

    return applied
