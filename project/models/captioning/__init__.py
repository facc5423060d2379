"""Caption networks: an encoder, and one decoder or two that speak in opposite directions."""

from project.models.captioning.decoder import CaptionDecoder, Taught
from project.models.captioning.encoder import Features, ImageEncoder
from project.models.captioning.network import DECODERS, CaptionNetwork, DecoderOptions

__all__ = ["DECODERS", "CaptionDecoder", "CaptionNetwork", "DecoderOptions", "Features", "ImageEncoder", "Taught"]
