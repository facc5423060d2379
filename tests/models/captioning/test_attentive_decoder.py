"""Show, Attend and Tell, and top-down attention, written out from the papers' equations."""

from __future__ import annotations

import numpy as np
import pytest
import torch


def looked(attention, linear, grid: np.ndarray, hidden: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Σ_i α_i a_i and α, of grid (L, D)."""
    energies = [
        linear(attention.energy, np.tanh(linear(attention.key, a) + linear(attention.query, hidden)))[0] for a in grid
    ]
    weights = np.exp(energies) / np.exp(energies).sum()
    return weights @ grid, weights


def begun(decoder, linear, pooled: np.ndarray, layers: int, cell: str) -> list[tuple[np.ndarray, ...]]:
    parts = 2 if cell == "lstm" else 1
    values = np.split(np.tanh(linear(decoder.state, pooled)), layers * parts)
    return [tuple(values[i : i + parts]) for i in range(0, len(values), parts)]


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_show_attend_and_tell(build, features, captions, next_state, linear, cell, layers):
    """Xu et al. 2015: α from h_{t-1} (4-6), z = β Σ α a with β = σ(f_β(h_{t-1})) (4.2.1), deep output (7)."""
    decoder, every, tokens = build("soft", cell, layers), features(), captions(3, 2, 5)
    found = decoder(every, tokens)
    embeddings = decoder.embedding.weight.detach().numpy()
    for image in range(3):
        grid = every.grid[image].numpy()
        for row in range(2):
            states = begun(decoder, linear, grid.mean(0), layers, cell)
            for t, word in enumerate([1, *tokens[image, row, :-1].tolist()]):
                before = states[-1][0]  # h_{t-1}
                z, alpha = looked(decoder.attention, linear, grid, before)
                z = z / (1 + np.exp(-linear(decoder.gate, before)))
                values = np.concatenate([embeddings[word], z])
                for number, layer in enumerate(decoder.cells):
                    states[number] = next_state(layer.cell, values, states[number])
                    values = states[number][0]
                told = embeddings[word] + linear(decoder.project, values) + linear(decoder.seen, z)
                np.testing.assert_allclose(found.attention[image, row, t].detach(), alpha, atol=1e-6)
                np.testing.assert_allclose(
                    found.logits[image, row, t].detach(), linear(decoder.output, told), atol=1e-5
                )


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_top_down_attention(build, features, captions, next_state, linear, cell):
    """Anderson et al. 2018: x¹ = [h²_{t-1}, v̄, W_e Π_t] (2), α from h¹_t (3-5), x² = [v̂_t, h¹_t] (6), words from h²."""
    decoder, every, tokens = build("top_down", cell), features(), captions(3, 2, 5)
    found = decoder(every, tokens)
    embeddings = decoder.embedding.weight.detach().numpy()
    for image in range(3):
        grid = every.grid[image].numpy()
        for row in range(2):
            looking, speaking = begun(decoder, linear, grid.mean(0), 2, cell)
            for t, word in enumerate([1, *tokens[image, row, :-1].tolist()]):
                values = np.concatenate([speaking[0], grid.mean(0), embeddings[word]])
                looking = next_state(decoder.looking.cell, values, looking)
                seen, alpha = looked(decoder.attention, linear, grid, looking[0])
                speaking = next_state(decoder.speaking.cell, np.concatenate([seen, looking[0]]), speaking)
                np.testing.assert_allclose(found.attention[image, row, t].detach(), alpha, atol=1e-6)
                logits = linear(decoder.output, linear(decoder.project, speaking[0]))
                np.testing.assert_allclose(found.logits[image, row, t].detach(), logits, atol=1e-5)


@pytest.mark.parametrize(("attention", "first"), [("soft", 2), ("top_down", 1)])  # soft looks before it reads the word
def test_where_it_looks_changes_from_word_to_word_and_from_caption_to_caption(
    build, features, captions, attention, first
):
    weights = build(attention)(features(), captions(3, 2, 5)).attention
    assert weights.shape == (3, 2, 5, 4)
    assert (weights[:, :, 1:] - weights[:, :, :-1]).abs().amax(3).min() > 1e-4
    torch.testing.assert_close(weights[:, 0, :first], weights[:, 1, :first])
    assert (weights[:, 0, first:] - weights[:, 1, first:]).abs().amax(2).min() > 1e-6
