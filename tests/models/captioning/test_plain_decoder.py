"""Show and Tell, written out."""

from __future__ import annotations

import numpy as np
import pytest


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_the_image_comes_first_and_then_the_words(build, features, captions, next_state, linear, cell, layers):
    decoder, every, tokens = build("none", cell, layers), features(), captions(3, 2, 5)
    found = decoder(every, tokens)
    assert found.attention is None
    embeddings = decoder.embedding.weight.detach().numpy()
    parts = 2 if cell == "lstm" else 1
    for image in range(3):
        pooled = every.pooled[image].numpy()
        for row in range(2):
            begun = np.split(np.tanh(linear(decoder.state, pooled)), layers * parts)
            states = [tuple(begun[i : i + parts]) for i in range(0, len(begun), parts)]
            inputs = [linear(decoder.image, pooled), embeddings[1], *embeddings[tokens[image, row, :-1]]]
            for t, values in enumerate(inputs):
                for number, layer in enumerate(decoder.layers):
                    states[number] = next_state(layer.layer, values, states[number])
                    values = states[number][0]
                if t:
                    logits = linear(decoder.output, linear(decoder.project, values))
                    np.testing.assert_allclose(found.logits[image, row, t - 1].detach(), logits, atol=1e-9)


def test_each_layer_sees_a_taught_caption_in_one_call(build, features, captions):
    decoder, calls = build("none", layers=2), []
    for layer in decoder.layers:
        layer.register_forward_hook(lambda module, inputs, output: calls.append(tuple(inputs[0].shape)))
    decoder(features(), captions(3, 2, 7))
    assert calls == [(3, 1, 6), (3, 1, 8), (6, 7, 6), (6, 7, 8)]
