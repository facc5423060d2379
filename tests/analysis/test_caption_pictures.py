"""Pictures with captions: the image as it is, and text below it."""

from __future__ import annotations

import numpy as np
import pytest

from project.analysis.caption_pictures import caption_picture

IMAGE = np.zeros((16, 16, 3), np.uint8)
IMAGE[:8, :8] = (200, 30, 40)


def test_the_image_stands_above_the_text():
    picture = caption_picture(IMAGE, "a red square", ["A red square."])
    assert picture.dtype == np.uint8
    assert tuple(picture[20, 20]) == (200, 30, 40)
    assert tuple(picture[150, 150]) == (0, 0, 0)
    text = picture[240:]
    assert (text < 255).any()
    assert (picture[:8] == 255).all()


def test_other_words_are_other_pixels_and_the_reference_is_grey():
    one, other = (caption_picture(IMAGE, caption, ["A square."]) for caption in ("a cat", "a dog"))
    assert (one[:232] == other[:232]).all()
    assert (one != other).any()
    picture = caption_picture(IMAGE, "x", ["x"])
    assert picture[240:270].min() < picture[272:].min() < 255


@pytest.mark.parametrize("caption", ["", "word " * 200, "ü – 猫"])
def test_every_caption_gives_the_same_size(caption):
    assert caption_picture(IMAGE, caption, ["a"]).shape == caption_picture(IMAGE, "a", []).shape
    large = np.full((300, 300, 3), 128, np.uint8)
    assert caption_picture(large, caption, []).shape == caption_picture(IMAGE, "a", []).shape


def test_each_word_has_the_image_lit_where_it_looked():
    maps = np.zeros((2, 2, 2), np.uint8)
    maps[0, 0, 0] = maps[1, 1, 1] = 255
    white = np.full((16, 16, 3), 255, np.uint8)
    picture = caption_picture(white, "red square", [], maps, ["red", "square"])
    assert picture.shape == caption_picture(white, "", [], np.zeros((0, 2, 2), np.uint8), []).shape
    assert (picture[:308] == caption_picture(white, "red square", [])).all()
    for left, lit, dark in ((8, (5, 5), (66, 66)), (84, (66, 66), (5, 5))):
        tile = picture[308 : 308 + 72, left : left + 72]
        assert tuple(tile[lit]) == (255, 255, 255)
        assert tuple(tile[dark]) == (63, 63, 63)
        assert (picture[380:395, left : left + 72] < 128).any()  # the word below it
    assert (picture[308:, 160:] == 255).all()


def test_words_beyond_the_ninth_are_left_out():
    maps, words = np.full((30, 2, 2), 255, np.uint8), [f"w{number}" for number in range(30)]
    nine = caption_picture(IMAGE, "x", [], maps[:9], words[:9])
    assert np.array_equal(caption_picture(IMAGE, "x", [], maps, words), nine)
    assert not np.array_equal(caption_picture(IMAGE, "x", [], maps[:8], words[:8]), nine)
