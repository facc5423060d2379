"""A captioner's network from names and plain numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, get_args

from torch import Tensor, nn

from project.errors import ConfigError, did_you_mean
from project.models.captioning.attentive_decoder import SoftDecoder, TopDownDecoder
from project.models.captioning.cells import CellKind
from project.models.captioning.decoder import CaptionDecoder
from project.models.captioning.encoder import Features, ImageEncoder
from project.models.captioning.plain_decoder import PlainDecoder

DECODERS: dict[str, type[CaptionDecoder[Any, Any]]] = {
    "none": PlainDecoder,
    "soft": SoftDecoder,
    "top_down": TopDownDecoder,
}
"""By what `model.decoder.attention` calls them."""


@dataclass(frozen=True)
class DecoderOptions:
    """The recurrent part of a captioner.

    Args:
        attention: `none` shows the image once, before the first word (Show and Tell); `soft` looks at a part of it for
            each word (Show, Attend and Tell); `top_down` does so with a layer of its own (Anderson et al. 2018).
        cell: `rnn`, `gru` or `lstm`.
        layers: recurrent layers; `top_down` has always two.
        embedding_size: of words.
        hidden_size: of the recurrent layers, and of the attention.
        dropout: share zeroed in training, the same for all words of a caption.
        word_dropout: share of the words before that are left out in training.
        tie_embeddings: whether words have the same vectors going in and coming out.
        bidirectional: whether a second decoder learns to speak backwards, and both are asked.

    Raises:
        ConfigError: a value is out of its range.
    """

    attention: str = "soft"
    cell: CellKind = "lstm"
    layers: int = 1
    embedding_size: int = 256
    hidden_size: int = 512
    dropout: float = 0.3
    word_dropout: float = 0.0
    tie_embeddings: bool = False
    bidirectional: bool = False

    def __post_init__(self) -> None:
        for name, known in (("attention", DECODERS), ("cell", get_args(CellKind))):
            value = getattr(self, name)
            if value not in known:
                raise ConfigError(f"model.decoder.{name}: there is no '{value}'; {did_you_mean(str(value), known)}")
        for name in ("layers", "embedding_size", "hidden_size"):
            if getattr(self, name) < 1:
                raise ConfigError(f"model.decoder.{name}: must be at least 1; got {getattr(self, name)}")
        for name in ("dropout", "word_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"model.decoder.{name}: must be at least 0 and below 1; got {getattr(self, name)}")
        fixed = DECODERS[self.attention].fixed_layers
        if fixed is not None and self.layers not in (1, fixed):
            raise ConfigError(f"model.decoder.layers: {self.attention} attention has always {fixed}; leave it out")


class CaptionNetwork(nn.Module):
    """An encoder with a decoder, and where asked for another one that speaks backwards.

    Args:
        vocabulary_size: V.
        start: the index of the word before the first.
        image_size: pixels of a side.
        backbone: a name that `build_backbone` knows.
        backbone_options: its own.
        decoder: see `DecoderOptions`.
    """

    def __init__(
        self,
        vocabulary_size: int,
        start: int,
        image_size: int,
        backbone: str,
        backbone_options: dict[str, Any] | None,
        decoder: DecoderOptions,
    ) -> None:
        super().__init__()
        self.encoder = ImageEncoder(backbone, image_size, backbone_options)
        directions = 2 if decoder.bidirectional else 1
        self.decoders: Sequence[CaptionDecoder[Any, Any]] = nn.ModuleList(  # type: ignore[assignment]  # torch's holds any module
            _build_decoder(vocabulary_size, start, self.encoder.num_features, decoder) for _ in range(directions)
        )

    def encode(self, images: Tensor) -> Features:
        """Features of images (B, 3, S, S) float, normalised: once for all of their captions."""
        return self.encoder(images)


def _build_decoder(
    vocabulary_size: int, start: int, num_features: int, options: DecoderOptions
) -> CaptionDecoder[Any, Any]:
    kind = DECODERS[options.attention]
    left_out = {"attention", "bidirectional"} | ({"layers"} if kind.fixed_layers else set())
    shared = {name: value for name, value in asdict(options).items() if name not in left_out}
    shared |= {"vocabulary_size": vocabulary_size, "start": start, "num_features": num_features}
    return kind(**shared)
