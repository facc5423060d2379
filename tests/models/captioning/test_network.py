"""A network from plain options, every part of which learns."""

from __future__ import annotations

from dataclasses import asdict

import pytest
import torch
from torch.nn import functional

from project.errors import ConfigError
from project.models.captioning import CaptionNetwork, DecoderOptions
from project.models.captioning.attentive_decoder import SoftDecoder, TopDownDecoder
from project.models.captioning.plain_decoder import PlainDecoder

KINDS = [
    (attention, cell, layers)
    for attention in ("none", "soft", "top_down")
    for cell in ("rnn", "gru", "lstm")
    for layers in ((2,) if attention == "top_down" else (1, 2))
]


def network(**options: object) -> CaptionNetwork:
    torch.manual_seed(0)
    options = {"embedding_size": 6, "hidden_size": 8} | options
    return CaptionNetwork(11, 1, 16, "small_resnet", {"width": 4}, DecoderOptions(**options))


@pytest.mark.parametrize("sampling", [0.0, 0.5])
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize(("attention", "cell", "layers"), KINDS)
def test_every_parameter_learns(attention, cell, layers, bidirectional, tied, sampling):
    built = network(
        attention=attention, cell=cell, layers=layers, bidirectional=bidirectional, tie_embeddings=tied
    ).train()
    features, tokens = built.encode(torch.randn(8, 3, 16, 16)), torch.randint(2, 11, (8, 2, 5))
    assert len(built.decoders) == 1 + bidirectional
    loss = sum(
        functional.cross_entropy(decoder(features, tokens, sampling).logits.flatten(0, 2), tokens.flatten())
        for decoder in built.decoders
    )
    loss.backward()
    assert [name for name, parameter in built.named_parameters() if parameter.grad is None] == []
    assert [name for name, parameter in built.named_parameters() if not parameter.grad.abs().sum()] == []


def test_the_options_choose_the_decoder():
    plain, soft = network(attention="none", cell="gru", layers=2), network(attention="soft", layers=2)
    assert isinstance(plain.decoders[0], PlainDecoder)
    assert [type(layer.layer) for layer in plain.decoders[0].layers] == [torch.nn.GRU] * 2
    assert isinstance(soft.decoders[0], SoftDecoder)
    assert len(soft.decoders[0].cells) == 2
    assert isinstance(network(attention="top_down").decoders[0], TopDownDecoder)
    assert network(embedding_size=7, hidden_size=9).decoders[0].project.weight.shape == (7, 9)
    assert network(tie_embeddings=True).decoders[0].output.weight.shape == (11, 6)
    assert network(dropout=0.2).decoders[0].dropout.p == 0.2
    assert DecoderOptions(**asdict(DecoderOptions(cell="rnn"))) == DecoderOptions(cell="rnn")


def test_two_directions_share_the_encoder_and_nothing_else():
    built = network(bidirectional=True)
    forward, backward = ({parameter.data_ptr() for parameter in decoder.parameters()} for decoder in built.decoders)
    assert not forward & backward
    assert not torch.equal(built.decoders[0].embedding.weight, built.decoders[1].embedding.weight)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": 0}, "layers: must be at least 1; got 0"),
        ({"embedding_size": 0}, "embedding_size: must be at least 1; got 0"),
        ({"hidden_size": -1}, "hidden_size: must be at least 1; got -1"),
        ({"dropout": 1.0}, "dropout: must be at least 0 and below 1; got 1.0"),
        ({"word_dropout": 1.0}, "word_dropout: must be at least 0 and below 1; got 1.0"),
        ({"dropout": -0.1}, "dropout: must be at least 0 and below 1; got -0.1"),
        ({"attention": "top_down", "layers": 3}, "layers: top_down attention has always 2; leave it out"),
        ({"attention": "sof"}, "attention: there is no 'sof'; did you mean 'soft'?"),
        ({"cell": "lstmm"}, "cell: there is no 'lstmm'; did you mean 'lstm'?"),
    ],
)
def test_options_that_cannot_be_are_config_errors(options, message):
    with pytest.raises(ConfigError) as error:
        DecoderOptions(**options)
    assert str(error.value) == f"model.decoder.{message}"
