"""Captions on figures: what is written, in which colour, and where nothing is hidden."""

from __future__ import annotations

import matplotlib
import numpy as np
import pytest
import torch

from project.analysis.caption_pictures import caption_picture
from project.analysis.figures.captions import attention_figure, captions_figure
from project.analysis.style import COLOURS, to_pixels

IMAGES = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 3, 16, 16), dtype=np.uint8))
REFERENCES = ["a red square", "a disc that is green", "nothing much"]


def test_every_search_is_written_beside_its_image():
    captions = {
        "greedy": ["a red square", "a cross", ""],
        "beam 5": ["a blue square", "a disc that is green", "$x$ $y$"],
    }
    figure = captions_figure(IMAGES, REFERENCES, captions)
    axes = figure.axes[0]
    texts = {text.get_text().replace("\n", " "): text for text in axes.texts}
    assert {*REFERENCES, *captions["beam 5"], "a cross", "(nothing)", "greedy", "beam 5"} <= texts.keys()
    same = [text for text in axes.texts if text.get_color() == COLOURS[2]]
    assert [text.get_text().replace("\n", " ") for text in same] == ["a red square", "a disc that is green"]
    for image, picture in zip(IMAGES, axes.images, strict=True):
        assert np.array_equal(picture.get_array(), image.permute(1, 2, 0))
    assert to_pixels(figure).size


@pytest.mark.parametrize("caption", ["short", "a caption of very many words " * 5])
def test_no_texts_overlap(caption):
    figure = captions_figure(IMAGES, [caption] * 3, {"greedy": [caption] * 3, "beam 10": [caption] * 3})
    to_pixels(figure)
    renderer = figure.canvas.get_renderer()
    boxes = [text.get_window_extent(renderer) for text in figure.axes[0].texts]
    whole = figure.bbox
    assert all(whole.x0 <= box.x0 and box.x1 <= whole.x1 and whole.y0 <= box.y0 for box in boxes)
    overlaps = [
        (one, other) for place, one in enumerate(boxes) for other in boxes[:place]
        if matplotlib.transforms.Bbox.intersection(one.padded(-1), other.padded(-1))
    ]  # fmt: skip
    assert overlaps == []


def test_attention_is_shown_as_tensorboard_shows_it():
    maps = np.random.default_rng(1).integers(0, 256, (2, 4, 4))
    answer = {
        "caption": "red square",
        "words": [{"word": "red"}, {"word": "square"}],
        "_attention": {"height": 4, "width": 4, "maps": maps.reshape(2, 16).tolist()},
    }
    figure = attention_figure(IMAGES[:2], [answer, answer], [[REFERENCES[0]], [REFERENCES[1]]])
    shown = figure.axes[0].images[0].get_array()
    expected = [
        caption_picture(
            IMAGES[n].permute(1, 2, 0).numpy().copy(),
            "red square",
            [REFERENCES[n]],
            maps.astype(np.uint8),
            ["red", "square"],
        )
        for n in range(2)
    ]
    assert np.array_equal(shown, np.concatenate(expected, axis=1))
    assert figure.axes[0].get_title("left") == "Where it looked for each word"


def test_a_captioner_without_attention_has_no_maps():
    answer = {"caption": "red", "words": [{"word": "red"}]}
    figure = attention_figure(IMAGES[:1], [answer], [REFERENCES])
    expected = caption_picture(IMAGES[0].permute(1, 2, 0).numpy().copy(), "red", REFERENCES)
    assert np.array_equal(figure.axes[0].images[0].get_array(), expected)
