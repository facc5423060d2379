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
    assert (picture[:, :240] == caption_picture(white, "red square", [])[:, :240]).all()
    for left, lit, dark in ((240, (9, 9), (88, 88)), (346, (88, 88), (9, 9))):
        tile = picture[8 : 8 + 98, left : left + 98]
        assert tuple(tile[lit]) == (255, 255, 255)
        assert tuple(tile[dark]) == (63, 63, 63)
        assert (picture[108:122, left : left + 98] < 128).any()  # the word below it
    assert (picture[8:106, 452:] == 255).all()


def test_words_beyond_the_tenth_are_left_out():
    maps, words = np.full((30, 2, 2), 255, np.uint8), [f"w{number}" for number in range(30)]
    ten = caption_picture(IMAGE, "x", [], maps[:10], words[:10])
    assert np.array_equal(caption_picture(IMAGE, "x", [], maps, words), ten)
    assert not np.array_equal(caption_picture(IMAGE, "x", [], maps[:9], words[:9]), ten)
