"""Captioners that a student learns from, and that learn nothing themselves.

Shapes: B images of S × S pixels, R captions of each, T words with the end's mark, V words known.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from project.data.captions.vocabulary import SPECIALS, Vocabulary
from project.errors import CheckpointError, did_you_mean
from project.models.captioning import CaptionDecoder, Features
from project.tasks.caption_search import CaptionSearch, Decoding, in_direction
from project.tasks.captioner import Captioner
from project.tasks.student import find_teacher, fingerprint, load_teacher


class CaptionTeacher:
    """One captioner, or several ones that speak together by the mean of their probabilities.

    It is no module: its weights are in nobody's parameters, optimizer, average, gradient synchronisation or checkpoint.
    Its networks are in evaluation mode and nothing changes it. Its words have the numbers that the student gives them.

    Args:
        members: the captioners; the rows of their words are put in the student's order, in place.
        vocabulary: the student's words.

    Raises:
        CheckpointError: a member knows other words, or some speak in both directions and some in one.
    """

    def __init__(self, members: Sequence[Captioner], vocabulary: Sequence[str]) -> None:
        self.members = [member.eval().requires_grad_(False) for member in members]
        for member in self.members:
            _reorder(member, vocabulary)
        if len({len(member.network.decoders) for member in self.members}) > 1:
            raise CheckpointError("model.teacher: one of them is bidirectional, another not; captioners that teach "
                                  "together need the same")  # fmt: skip

    @property
    def num_directions(self) -> int:
        """2 where it speaks backwards, too."""
        return len(self.members[0].network.decoders)

    @property
    def decoding(self) -> Decoding:
        """How its own captions are found: as the first member does it, without an ensemble of that one's."""
        return dataclasses.replace(self.members[0].search.decoding, ensemble=())  # type: ignore[arg-type]  # as its default

    def to(self, device: torch.device) -> CaptionTeacher:
        """On another device."""
        self.members = [member.to(device) for member in self.members]
        return self

    @torch.no_grad()
    def features(self, images: Tensor) -> list[Features]:
        """What each member sees in images (B, 3, S, S) uint8, which it normalises and where need be resizes its own way."""
        return [_features(member, images) for member in self.members]

    @torch.no_grad()
    def word_logits(self, features: Sequence[Features], tokens: Tensor, direction: int = 0) -> Tensor:
        """Scores of each next word of given captions: (B, R, T, V), of several members log-probabilities.

        Args:
            features: of the images.
            tokens: (B, R, T) int64 in reading order, padded.
            direction: 1 tells them backwards, and the scores are in that order.
        """
        words = in_direction(tokens, direction)
        found = [
            member.network.decoders[direction](its, words).logits
            for member, its in zip(self.members, features, strict=True)
        ]
        if len(found) == 1:
            return found[0]
        return torch.stack([logits.float().log_softmax(3) for logits in found]).logsumexp(0) - math.log(len(found))

    def search(self, decoding: Decoding, max_words: int) -> CaptionSearch:
        """A search for its captions, to be called with `features`."""
        return CaptionSearch([member.network for member in self.members], decoding, max_words)

    def fingerprint(self) -> str:
        """A hash of all parameters and buffers."""
        return fingerprint(member.network for member in self.members)

    def looks(self) -> list[dict[str, object]]:
        """What each member makes of an image before its network sees it, in plain types."""
        return [{name: member.hparams[name] for name in ("image_size", "mean", "std")} for member in self.members]


def open_caption_teacher(sources: Sequence[str], vocabulary: Sequence[str]) -> CaptionTeacher:
    """Captioners to learn from.

    Args:
        sources: checkpoints, or runs' folders, which stand for their best ones.
        vocabulary: the student's words.

    Raises:
        CheckpointError: there is no such checkpoint, it is no captioner's, or it knows other words.
        ConfigError: a configuration stands where a trained teacher is needed.
    """
    found = [(source, find_teacher(source, "or a captioner's configuration")) for source in sources]
    return CaptionTeacher([load_teacher(path, source, Captioner) for source, path in found], vocabulary)


def _features(member: Captioner, images: Tensor) -> Features:
    size = member.image_size
    if images.shape[-1] != size:
        images = functional.interpolate(images.float(), (size, size), mode="bilinear", antialias=True)
    dtype = member.network.decoders[0].embedding.weight.dtype
    return member.network.encode(member.normalize(images).to(dtype))


def _reorder(member: Captioner, vocabulary: Sequence[str]) -> None:
    """Gives the member's words the student's numbers."""
    theirs = member.vocabulary.words
    if theirs == list(vocabulary):
        return
    place = {word: index for index, word in enumerate(theirs, len(SPECIALS))}
    if place.keys() != set(vocabulary):
        odd = min(place.keys() ^ set(vocabulary))
        one, other = ("it", "the student") if odd in place else ("the student", "it")
        near = did_you_mean(odd, vocabulary if odd in place else theirs)
        raise CheckpointError(f"model.teacher: knows {len(place)} words, and the student {len(vocabulary)}; {one} knows "
                              f"{odd!r} and {other} does not, {near} Train both on the same captions with the same "
                              "data.min_count")  # fmt: skip
    order = torch.tensor([*range(len(SPECIALS)), *(place[word] for word in vocabulary)])
    for decoder in member.network.decoders:
        for tensor in _rows_by_word(decoder):
            tensor.data = tensor.data[order.to(tensor.device)]
    member.vocabulary = Vocabulary(vocabulary)


def _rows_by_word(decoder: CaptionDecoder[Any, Any]) -> list[Tensor]:
    """The parameters with a row for each word, each once: tied embeddings are the same one."""
    tensors = (decoder.embedding.weight, decoder.output.weight, decoder.output.bias)
    return list({id(tensor): tensor for tensor in tensors}.values())
