"""Captions stay with their images."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from project.data.captions.samples import CaptionedSamples
from project.errors import DataError

CAPTIONS = [["A dog."], ["A cat.", "Two cats."], ["..."], ["A bird", "", "!"]]
TOKENS = [[["a", "dog"]], [["a", "cat"], ["two", "cats"]], [["dots"]], [["a", "bird"], [], ["wow"]]]


def samples(tokens: list | None = None) -> CaptionedSamples:
    images = np.arange(4 * 4 * 4 * 3, dtype=np.uint8).reshape(4, 4, 4, 3)
    return CaptionedSamples.of(images, CAPTIONS, "train", tokens)


def test_labels_are_zeros():
    assert samples().labels.tolist() == [0, 0, 0, 0]
    assert samples().labels.dtype == np.int64


@pytest.mark.parametrize("tokens", [None, TOKENS])
def test_take_keeps_captions_and_tokens(tokens):
    taken = samples(tokens).take(np.array([3, 1]), "val")
    assert isinstance(taken, CaptionedSamples)
    assert (taken.split, taken.captions) == ("val", [CAPTIONS[3], CAPTIONS[1]])
    assert taken.tokens == (None if tokens is None else [TOKENS[3], TOKENS[1]])
    np.testing.assert_array_equal(taken.images, samples().images[[3, 1]])


def test_take_keeps_paths(tmp_path):
    paths = [tmp_path / f"{i}.png" for i in range(4)]
    taken = CaptionedSamples.of(paths, CAPTIONS, "train").take(np.array([2, 0]), "test")
    assert list(taken.images) == [paths[2], paths[0]]


def test_the_fingerprint_is_of_images_and_captions():
    first = samples().fingerprint()
    assert len(first) == 16
    assert samples().fingerprint() == first
    assert replace(samples(), split="val").fingerprint() == first
    assert replace(samples(), captions=[["A dog!"], *CAPTIONS[1:]]).fingerprint() != first
    # a text that moves to the next image
    assert replace(samples(), captions=[["A dog.", "A cat."], ["Two cats."], *CAPTIONS[2:]]).fingerprint() != first
    assert samples(TOKENS).fingerprint() != first
    assert replace(samples(), images=samples().images + 1).fingerprint() != first
    assert len(replace(samples(), captions=[["\ud800"], *CAPTIONS[1:]]).fingerprint()) == 16


def test_captions_without_words_are_left_out():
    kept = replace(samples(), captions=[*CAPTIONS[:2], ["dots"], CAPTIONS[3]]).with_words(lambda text: [])
    assert kept.captions == [["A dog."], ["A cat.", "Two cats."], ["dots"], ["A bird"]]
    kept = samples(TOKENS).with_words(str.split)
    assert kept.captions == [["A dog."], ["A cat.", "Two cats."], ["..."], ["A bird", "!"]]
    assert kept.tokens == [*TOKENS[:3], [["a", "bird"], ["wow"]]]


def test_an_image_without_words_is_named(tmp_path):
    with pytest.raises(DataError, match=r"^train split: train 2: .* only '\.\.\.', which has no word; "):
        samples().with_words(lambda text: [])
    paths = [tmp_path / f"{i}.png" for i in range(2)]
    with pytest.raises(DataError, match=r"^val split: .*1\.png: every image needs a caption, and this one has none; "):
        CaptionedSamples.of(paths, [["x"], []], "val").with_words(str.split)
    with pytest.raises(DataError, match=r"^val split: .*0\.png: "):
        CaptionedSamples.of(paths, [["x"], ["y"]], "val", [[[]], [["y"]]]).with_words(str.split)
